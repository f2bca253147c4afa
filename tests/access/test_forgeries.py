"""Tokens as attackers write them, each refused for its own reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.errors import Unauthenticated
from devstack.issuer import LocalIssuer, SigningKey, new_key
from tests.access.support import (
    Forge,
    Gate,
    base64url,
    claiming,
    claims_of,
    header_of,
    hmac_signed,
    hs256_with_the_public_pem,
    now_and,
    refused,
    signed_bytes,
    unknown_kid,
    unsigned,
)


def none_algorithm(issuer: LocalIssuer) -> str:
    return unsigned({"alg": "none", "kid": issuer.key().kid}, claims_of(issuer))


def none_with_a_signature(issuer: LocalIssuer) -> str:
    return unsigned({"alg": "none", "kid": issuer.key().kid}, claims_of(issuer), b"signature")


def odd_none(issuer: LocalIssuer) -> str:
    return unsigned({"alg": "nOnE", "kid": issuer.key().kid}, claims_of(issuer), b"signature")


def no_algorithm(issuer: LocalIssuer) -> str:
    return unsigned({"kid": issuer.key().kid}, claims_of(issuer), b"signature")


def list_of_algorithms(issuer: LocalIssuer) -> str:
    return unsigned({"alg": ["RS256"], "kid": issuer.key().kid}, claims_of(issuer), b"signature")


def hs256_with_the_public_jwk(issuer: LocalIssuer) -> str:
    key = issuer.key()
    return hmac_signed(json.dumps(key.jwk).encode(), {"alg": "HS256", "kid": key.kid}, claims_of(issuer))


def rs256_name_on_an_hmac(issuer: LocalIssuer) -> str:
    key = issuer.key()
    return hmac_signed(key.pem.encode(), {"alg": "RS256", "kid": key.kid}, claims_of(issuer))


def no_kid(issuer: LocalIssuer) -> str:
    return issuer.token(headers={"kid": None})


def path_as_kid(issuer: LocalIssuer) -> str:
    return issuer.token(headers={"kid": "../../../../dev/null"})


def numeric_kid(issuer: LocalIssuer) -> str:
    return unsigned({"alg": "RS256", "kid": 7}, claims_of(issuer), b"signature")


def another_keys_kid(issuer: LocalIssuer) -> str:
    return issuer.token(algorithm="RS256", headers={"kid": issuer.key("ES256").kid})


def own_key_under_a_known_kid(issuer: LocalIssuer) -> str:
    return issuer.token(key=SigningKey(issuer.key().kid, "RS256", new_key().private))


def own_key_in_jwk(issuer: LocalIssuer) -> str:
    mine = new_key("ES256")
    return issuer.token(key=mine, headers={"jwk": mine.jwk})


def own_key_in_jwk_under_a_known_kid(issuer: LocalIssuer) -> str:
    mine = SigningKey(issuer.key("ES256").kid, "ES256", new_key("ES256").private)
    return issuer.token(key=mine, headers={"jwk": mine.jwk})


def allowed_key_other_hash(issuer: LocalIssuer) -> str:
    return issuer.token(key=SigningKey(issuer.key().kid, "RS512", issuer.key().private))


def allowed_key_other_padding(issuer: LocalIssuer) -> str:
    return issuer.token(key=SigningKey(issuer.key().kid, "PS256", issuer.key().private))


def critical_extension(issuer: LocalIssuer) -> str:
    return signed_bytes(issuer.key(), json.dumps(claims_of(issuer)).encode(), crit=["exp"], exp=1)


def critical_and_unknown(issuer: LocalIssuer) -> str:
    return signed_bytes(issuer.key(), json.dumps(claims_of(issuer)).encode(), crit=["x-mine"], **{"x-mine": 1})


def empty_crit(issuer: LocalIssuer) -> str:
    return signed_bytes(issuer.key(), json.dumps(claims_of(issuer)).encode(), crit=[])


def critical_b64(issuer: LocalIssuer) -> str:
    header = {"alg": "RS256", "kid": issuer.key().kid, "crit": ["b64"], "b64": True}
    return unsigned(header, claims_of(issuer), b"signature")


def changed_payload(issuer: LocalIssuer) -> str:
    header, _, signature = issuer.token().split(".")
    return f"{header}.{base64url(json.dumps(claims_of(issuer, sub='root')).encode())}.{signature}"


def no_signature(issuer: LocalIssuer) -> str:
    return issuer.token().rpartition(".")[0] + "."


def two_parts(issuer: LocalIssuer) -> str:
    return issuer.token().rpartition(".")[0]


def five_parts(issuer: LocalIssuer) -> str:
    return issuer.token() + ".a.b"


def padded(issuer: LocalIssuer) -> str:
    return issuer.token() + "=="


def newline_after(issuer: LocalIssuer) -> str:
    return issuer.token() + "\n"


def signed_payload(text: bytes) -> Forge:
    return lambda issuer: signed_bytes(issuer.key(), text)


def signed_claims(**claims: Any) -> Forge:
    """Claims that the library would not encode."""
    return lambda issuer: signed_bytes(issuer.key(), json.dumps(claims_of(issuer, **claims)).encode())


FORGERIES: list[tuple[Forge, str]] = [
    (none_algorithm, "malformed"),
    (none_with_a_signature, "algorithm is not allowed"),
    (odd_none, "algorithm is not allowed"),
    (no_algorithm, "algorithm is not allowed"),
    (list_of_algorithms, "algorithm is not allowed"),
    (hs256_with_the_public_pem, "algorithm is not allowed"),
    (hs256_with_the_public_jwk, "algorithm is not allowed"),
    (rs256_name_on_an_hmac, "signature does not verify"),
    (unknown_kid, "key is not known"),
    (no_kid, "key is not known"),
    (path_as_kid, "key is not known"),
    (numeric_kid, "malformed"),
    (another_keys_kid, "key is not known"),
    (own_key_under_a_known_kid, "signature does not verify"),
    (own_key_in_jwk, "key is not known"),
    (own_key_in_jwk_under_a_known_kid, "signature does not verify"),
    (allowed_key_other_hash, "algorithm is not allowed"),
    (allowed_key_other_padding, "algorithm is not allowed"),
    (critical_extension, "malformed"),
    (critical_and_unknown, "malformed"),
    (empty_crit, "malformed"),
    (critical_b64, "extension that is not supported"),
    (changed_payload, "signature does not verify"),
    (no_signature, "malformed"),
    (two_parts, "malformed"),
    (five_parts, "malformed"),
    (padded, "malformed"),
    (newline_after, "malformed"),
    (signed_payload(b"[]"), "malformed"),
    (signed_payload(b"null"), "malformed"),
    (signed_payload(b"\xff"), "malformed"),
    (signed_payload(b"[" * 10_000), "malformed"),
    (signed_payload(b'{"exp": ' + b"9" * 5000 + b"}"), "malformed"),
    (claiming(iss="https://elsewhere"), "issuer is not trusted"),
    (lambda issuer: issuer.token(iss=issuer.url + "/"), "issuer is not trusted"),
    (lambda issuer: issuer.token(iss=issuer.url.upper()), "issuer is not trusted"),
    (claiming(iss=None), "issuer is not trusted"),
    (signed_claims(iss=["https://elsewhere"]), "issuer is not trusted"),
    (signed_claims(iss={"a": 1}), "issuer is not trusted"),
    (claiming(aud="other"), "another audience"),
    (claiming(aud=["other"]), "another audience"),
    (claiming(aud=[]), "required claim"),
    (claiming(aud=None), "required claim"),
    (claiming(aud={"config-server": 1}), "another audience"),
    (claiming(aud=["config-server", 1]), "another audience"),
    (claiming(aud="config-server-2"), "another audience"),
    (claiming(aud="Config-Server"), "another audience"),
    (claiming(exp=None), "no expiry"),
    (lambda issuer: issuer.token(exp=now_and(-60), iat=now_and(-120), nbf=None), "expired"),
    (claiming(exp=0), "expired"),
    (claiming(exp=-1), "expired"),
    (claiming(exp=True), "expired"),
    (lambda issuer: issuer.token(exp=str(now_and(60))), "exp is not a time"),
    (claiming(exp=[1]), "malformed"),
    (claiming(exp="soon"), "malformed"),
    (signed_claims(exp=float("inf")), "malformed"),
    (signed_claims(exp=float("nan")), "malformed"),
    (claiming(exp=10**30), "exp is not a time"),
    (claiming(exp=10**400), "exp is not a time"),
    (claiming(exp=253_402_300_799), "lifetime is too long"),
    (lambda issuer: issuer.token(exp=now_and(86_400 + 60)), "lifetime is too long"),
    (lambda issuer: issuer.token(exp=now_and(86_400 + 60), iat=None), "lifetime is too long"),
    (lambda issuer: issuer.token(exp=now_and(86_400 + 60), iat=None, nbf=None), "lifetime is too long"),
    (lambda issuer: issuer.token(iat=now_and(-100_000)), "lifetime is too long"),
    (lambda issuer: issuer.token(iat=now_and(90), exp=now_and(600)), "not valid yet"),
    (lambda issuer: issuer.token(nbf=now_and(90), exp=now_and(600)), "not valid yet"),
    (lambda issuer: issuer.token(iat=str(now_and(0))), "iat is not a time"),
    (claiming(iat=-5), "iat is not a time"),
    (claiming(nbf=False), "nbf is not a time"),
    (claiming(sub=None), "required claim"),
    (claiming(sub=7), "sub must be a text"),
    (signed_claims(sub=None), "sub must be a text"),
    (claiming(sub=["tester"]), "sub must be a text"),
    (claiming(sub=""), "sub must have"),
    (claiming(sub="s" * 256), "sub must have"),
    (claiming(sub="a\nforged: line"), "sub must have"),
    (claiming(sub="a\x00b"), "sub must have"),
    (claiming(sub="a\u202eb"), "sub must have"),
    (signed_claims(sub="a\ud800"), "sub must have"),
    (claiming(jti=7), "jti must be a text"),
    (claiming(jti="a\rb"), "jti must have"),
    (claiming(typ="ID"), "not an access token"),
    (claiming(typ="Refresh"), "not an access token"),
    (claiming(type="refresh"), "not an access token"),
    (claiming(nonce="n-0S6"), "not an access token"),
    (signed_claims(nonce=None), "not an access token"),
    (header_of("ID"), "not an access token"),
    (header_of("logout+jwt"), "not an access token"),
    (header_of("dpop+jwt"), "not an access token"),
    (lambda issuer: signed_bytes(issuer.key(), json.dumps(claims_of(issuer)).encode(), typ=7), "not an access token"),
    (claiming(service="pay/../ship"), "service is not a legal name"),
    (claiming(service="*"), "service is not a legal name"),
    (claiming(service="pay,ship"), "service is not a legal name"),
    (claiming(service=""), "service is not a legal name"),
    (claiming(service=["pay"]), "service is not a legal name"),
    (claiming(service="pay\n"), "service is not a legal name"),
    (lambda issuer: issuer.token(padding="x" * 16_384), "too large"),
    (lambda issuer: "a" * 10_000_000, "too large"),
    (lambda issuer: "", "malformed"),
    (lambda issuer: "..", "malformed"),
    (lambda issuer: "a.b.c", "malformed"),
    (lambda issuer: "päy.b.c", "malformed"),
    (lambda issuer: "\ud800.b.c", "malformed"),
    (lambda issuer: "a b.c.d", "malformed"),
    (lambda issuer: base64url(b"{}") + ".e30.e30", "issuer is not trusted"),
    (lambda issuer: base64url(b"[]") + ".e30.e30", "malformed"),
    (lambda issuer: base64url(b"[" * 9_000) + ".e30.e30", "malformed"),
]


@pytest.mark.parametrize(("forge", "reason"), FORGERIES)
def test_a_forged_token_is_refused_and_nothing_is_fetched_for_it(gate: Gate, forge: Forge, reason: str) -> None:
    fetched = sum(gate.issuer.fetches.values())
    token = forge(gate.issuer)

    for _ in range(2):
        with refused(reason):
            gate.verify(token)

    assert sum(gate.issuer.fetches.values()) == fetched


def test_a_token_that_names_its_own_judge_sends_nobody_there(gate: Gate, stranger: LocalIssuer) -> None:
    asked = sum(stranger.fetches.values())
    headers = {"jku": stranger.jwks_url, "x5u": stranger.jwks_url, "kid": stranger.key().kid}

    with refused("key is not known"):
        gate.verify(stranger.token(iss=gate.issuer.url, headers=headers))
    with refused("issuer is not trusted"):
        gate.verify(stranger.token(headers=headers))

    assert sum(stranger.fetches.values()) == asked


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_change_of_any_part_is_noticed(gate: Gate, position: int) -> None:
    parts = gate.issuer.token().split(".")
    middle = len(parts[position]) // 2
    flipped = "A" if parts[position][middle] != "A" else "B"
    parts[position] = parts[position][:middle] + flipped + parts[position][middle + 1 :]

    with pytest.raises(Unauthenticated):
        gate.verify(".".join(parts))


def test_a_refusal_quotes_nothing_of_the_token(gate: Gate) -> None:
    for forge, _ in FORGERIES:
        token = forge(gate.issuer)
        with pytest.raises(Unauthenticated) as raised:
            gate.verify(token)
        assert len(str(raised.value)) < 100
        assert not any(len(part) > 20 and part in str(raised.value) for part in token.split("."))
