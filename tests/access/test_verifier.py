"""Good tokens, the principals they speak for, and how long they are remembered."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from app.access import FileKeys, Issuer, Issuers, JwksKeys, Rbac, TokenVerifier, install, load_rbac
from app.errors import Unauthenticated
from app.model import Grant, Principal
from devstack.issuer import LocalIssuer, Mode, new_key
from tests.access.support import (
    ALGORITHMS,
    Clock,
    Forge,
    Gate,
    claiming,
    described,
    header_of,
    hs256_with_the_public_pem,
    now_and,
    opened,
    patient,
    refused,
    unknown_kid,
)
from tests.support import eventually

# --- good tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_good_token_speaks_for_its_principal(gate: Gate, algorithm: str) -> None:
    scope = "openid config:read config:view:pay*"
    token = gate.issuer.token("alice", scope, "pay", algorithm=algorithm, jti="id-1")

    principal = gate.verify(token)

    assert principal == Principal(
        issuer=gate.issuer.url,
        subject="alice",
        grants=(Grant("read"), Grant("view", "pay*")),
        expires_at=principal.expires_at,
        token_id="id-1",
        service="pay",
    )
    assert 3500 < principal.expires_at - time.time() <= 3600


@pytest.mark.parametrize(
    "forge",
    [
        header_of("JWT"),
        header_of("jwt"),
        header_of("at+jwt"),
        header_of("application/at+JWT"),
        header_of(None),
        claiming(jti=None),
        claiming(iat=None),
        claiming(nbf=None),
        claiming(iat=None, nbf=None),
        claiming(aud=["other", "config-server"]),
        claiming(typ="Bearer"),
        claiming(type="access"),
        claiming(sub="s" * 255),
        claiming(sub="Zoë 日本 (dev)"),
        claiming(service="a.b_c+d@e-f"),
        lambda issuer: issuer.token(nbf=now_and(20), iat=now_and(20)),
        lambda issuer: issuer.token(exp=now_and(-20), iat=now_and(-60), nbf=None),
        lambda issuer: issuer.token(exp=time.time() + 60.5, iat=time.time() - 0.5),
        lambda issuer: issuer.token(iat=(now := now_and(0)), exp=now + 86_400),
        lambda issuer: issuer.token(lifetime=60, padding="x" * 11_000),
        lambda issuer: issuer.token(headers={"jku": "http://127.0.0.1:1/jwks", "x5u": "http://127.0.0.1:1/x"}),
    ],
)
def test_what_providers_write_is_accepted(gate: Gate, forge: Forge) -> None:
    assert gate.verify(forge(gate.issuer)).issuer == gate.issuer.url


# --- permissions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "claims",
    [
        {"scope": "config:view config:write:pay"},
        {"scope": " config:view  config:write:pay "},
        {"scp": ["config:view", "config:write:pay"]},
        {"scope": "config:view", "roles": ["config:write:pay"]},
        {"permissions": ["config:view", 7, None, ["config:audit"], "config:write:pay"]},
        {"scope": "openid xconfig:read config:view config:readwrite config:write:pay config:read:"},
        {"scope": "config:view", "permissions": "config:write:pay config:view"},
    ],
)
def test_permissions_stand_in_any_of_the_claims(gate: Gate, claims: dict[str, Any]) -> None:
    assert gate.verify(gate.issuer.token(**claims)).grants == (Grant("view"), Grant("write", "pay"))


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"scope": {"config:view": True}},
        {"scope": 7},
        {"scp": ["config:view config:write"]},
        {"scope": "config:view\tconfig:write"},
        {"scope": "config:view,config:write"},
        {"groups": ["config:view"]},
    ],
)
def test_other_shapes_give_no_permission(gate: Gate, claims: dict[str, Any]) -> None:
    assert gate.verify(gate.issuer.token(**claims)).grants == ()


def test_bindings_add_to_what_the_token_says(issuer: LocalIssuer, tmp_path: Path) -> None:
    file = tmp_path / "rbac.toml"
    file.write_text('[[binding]]\nclaims = { groups = "ops" }\npermissions = ["config:audit", "config:view"]\n')

    with opened(issuer, rbac=load_rbac(file)) as gate:
        principal = gate.verify(issuer.token(scope="config:view", groups=["ops"]))

    assert principal.grants == (Grant("view"), Grant("audit"))


def test_claims_have_the_names_the_operator_gave_them(issuer: LocalIssuer) -> None:
    names: dict[str, Any] = {"permission_claims": ("perms",), "service_claim": "azp", "env_claim": "stage"}
    with opened(issuer, **names) as gate:
        principal = gate.verify(issuer.token(scope="config:view", service="ship", perms="config:read", azp="pay"))
        staged = gate.verify(issuer.token(azp="pay", stage="prod"))
        with refused("stage is not a legal name"):
            gate.verify(issuer.token(stage="dev,prod"))

    assert (principal.grants, principal.service, principal.env) == ((Grant("read"),), "pay", None)
    assert staged.env == "prod"


# --- issuers ----------------------------------------------------------------------------------------------------------


def test_each_issuer_has_its_own_audience_algorithms_and_keys(issuer: LocalIssuer, stranger: LocalIssuer) -> None:
    first = described(
        issuer, JwksKeys(issuer.jwks_url, algorithms=["RS256"]), algorithms=("RS256",), audiences=frozenset({"first"})
    )
    second = described(
        stranger,
        JwksKeys(stranger.jwks_url, algorithms=["ES256"]),
        algorithms=("ES256",),
        audiences=frozenset({"second"}),
        leeway=300,
    )
    verifier = TokenVerifier(Issuers([first, second]), Rbac())
    install(Flask("two"), verifier)
    verifier.issuers.start()

    assert verifier.verify(issuer.token(aud="first")).issuer == issuer.url
    assert verifier.verify(stranger.token(aud="second", algorithm="ES256")).issuer == stranger.url
    with refused("another audience"):
        verifier.verify(issuer.token(aud="second"))
    with refused("algorithm is not allowed"):
        verifier.verify(issuer.token(aud="first", algorithm="ES256"))
    with refused("key is not known"):
        verifier.verify(stranger.token(aud="first", iss=issuer.url))
    with refused("expired"):
        verifier.verify(issuer.token(aud="first", exp=now_and(-60), iat=now_and(-120), nbf=None))
    late = stranger.token(aud="second", algorithm="ES256", exp=now_and(-60), iat=now_and(-120), nbf=None)
    assert verifier.verify(late).issuer == stranger.url
    verifier.issuers.close()


@pytest.mark.parametrize(
    "fields",
    [
        {"algorithms": ("HS256",)},
        {"algorithms": ("RS256", "none")},
        {"algorithms": ()},
        {"issuer": ""},
        {"audiences": frozenset()},
    ],
)
def test_an_issuer_that_would_trust_too_much_cannot_be_made(issuer: LocalIssuer, fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"issuer|algorithm"):
        described(issuer, JwksKeys(issuer.jwks_url, algorithms=ALGORITHMS), **fields)


def test_the_table_holds_each_issuer_once(issuer: LocalIssuer) -> None:
    one: Issuer = described(issuer, JwksKeys(issuer.jwks_url, algorithms=ALGORITHMS))

    for issuers in ([], [one, one]):
        with pytest.raises(ValueError, match="once"):
            Issuers(issuers)


def test_a_public_key_file_serves_in_place_of_a_provider(issuer: LocalIssuer, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(issuer.key("ES256").pem)

    with opened(issuer, keys=FileKeys(path, algorithms=ALGORITHMS)) as gate:
        assert gate.verify(issuer.token(algorithm="ES256", headers={"kid": None})).subject == "tester"
        with refused("key is not known"):
            gate.verify(issuer.token(algorithm="RS256"))
        with refused("signature does not verify"):
            gate.verify(issuer.token(key=new_key("ES256")))
        with refused("algorithm is not allowed"):
            gate.verify(hs256_with_the_public_pem(issuer))


# --- when the provider fails ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [Mode.HANG, Mode.FAIL])
def test_valid_tokens_verify_undisturbed_while_the_provider_does_not(own_issuer: LocalIssuer, mode: Mode) -> None:
    keys = JwksKeys(own_issuer.jwks_url, algorithms=ALGORITHMS, min_interval=0, fetch=patient)
    with opened(own_issuer, keys=keys) as gate:
        own_issuer.mode = mode
        with refused("key is not known"):
            gate.verify(unknown_kid(own_issuer))
        eventually(lambda: own_issuer.jwks_fetches > 1)

        begun = time.monotonic()
        for number in range(100):
            assert gate.verify(own_issuer.token(str(number), algorithm="ES256")).subject == str(number)
        assert time.monotonic() - begun < 10
        own_issuer.mode = Mode.SERVE


def test_a_hundred_unknown_key_ids_fetch_once_at_most(own_issuer: LocalIssuer) -> None:
    keys = JwksKeys(own_issuer.jwks_url, algorithms=ALGORITHMS, clock=Clock())
    with opened(own_issuer, keys=keys) as gate:
        for number in range(100):
            with refused("key is not known"):
                gate.verify(own_issuer.token(algorithm="ES256", headers={"kid": f"unknown-{number}"}))
        assert gate.verify(own_issuer.token()).subject == "tester"

    assert own_issuer.jwks_fetches == 1  # the one of the start, a moment ago by its clock


def test_tokens_of_rotated_keys_verify_without_a_restart(own_issuer: LocalIssuer) -> None:
    keys = JwksKeys(own_issuer.jwks_url, algorithms=ALGORITHMS, min_interval=0)
    with opened(own_issuer, keys=keys) as gate:
        former = own_issuer.token()
        own_issuer.rotate(keep_old=True)
        latest = own_issuer.token()

        def accepted() -> bool:
            try:
                return bool(gate.verify(latest))
            except Unauthenticated:
                return False

        eventually(accepted)
        assert gate.verify(former)


# --- the memory -------------------------------------------------------------------------------------------------------


def test_a_remembered_token_touches_neither_flask_nor_keys(issuer: LocalIssuer) -> None:
    with opened(issuer) as gate:
        token = issuer.token()
        first = gate.verify(token)

        def unreachable(token: str) -> tuple[dict[str, object], dict[str, object]]:
            raise AssertionError("decoded again")

        gate.verifier.decode_with(unreachable)
        assert gate.verify(token) is first
        with pytest.raises(AssertionError):
            gate.verify(issuer.token())


def test_a_withdrawn_key_stops_verifying_within_sixty_seconds(own_issuer: LocalIssuer) -> None:
    keys = JwksKeys(own_issuer.jwks_url, algorithms=ALGORITHMS, min_interval=0)
    with opened(own_issuer, keys=keys) as gate:
        token = own_issuer.token()
        gate.clock.stop()
        gate.verify(token)
        former = own_issuer.key().kid
        own_issuer.rotate()
        with refused("key is not known"):
            gate.verify(own_issuer.token())
        eventually(lambda: keys.status().keys == 2 and not knows(keys, former))

        gate.clock.offset = 59
        assert gate.verify(token)
        gate.clock.offset = 61
        with refused("key is not known"):
            gate.verify(token)


def knows(keys: JwksKeys, kid: str) -> bool:
    try:
        keys.key(kid, "RS256")
    except KeyError:
        return False
    return True


def test_a_remembered_token_is_not_remembered_past_its_expiry(issuer: LocalIssuer) -> None:
    with opened(issuer, leeway=0) as gate:
        token = issuer.token(lifetime=20)
        gate.verify(token)
        gate.clock.offset = 21

        with refused("expired"):
            gate.verify(token)


def test_a_clock_set_back_verifies_again(issuer: LocalIssuer) -> None:
    with opened(issuer) as gate:
        token = issuer.token()
        gate.clock.stop()
        first = gate.verify(token)
        gate.clock.offset = -5

        assert gate.verify(token) == first
        assert gate.verify(token) is not first


def test_revocation_is_looked_at_on_every_use(issuer: LocalIssuer) -> None:
    revoked: set[str | None] = set()
    with opened(issuer, revoked=lambda principal: principal.token_id in revoked) as gate:
        token = issuer.token(jti="stolen")
        gate.verify(token)
        revoked.add("stolen")

        with refused("revoked"):
            gate.verify(token)
        assert gate.verify(issuer.token(jti="other"))
        revoked.clear()
        assert gate.verify(token)


def test_a_bad_token_is_not_remembered_as_good_nor_as_bad(own_issuer: LocalIssuer) -> None:
    keys = JwksKeys(own_issuer.jwks_url, algorithms=ALGORITHMS, min_interval=0)
    with opened(own_issuer, keys=keys) as gate:
        early = own_issuer.token(nbf=now_and(600), iat=None)
        with refused("not valid yet"):
            gate.verify(early)
        with refused("not valid yet"):
            gate.verify(early)


def test_a_verifier_without_an_application_says_so(issuer: LocalIssuer) -> None:
    verifier = TokenVerifier(Issuers([described(issuer, JwksKeys(issuer.jwks_url, algorithms=ALGORITHMS))]), Rbac())

    with pytest.raises(RuntimeError, match="not been installed"):
        verifier.verify(issuer.token())
