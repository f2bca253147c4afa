"""The file of issuers: what it may say, what is told of what it may not, and the examples of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.access import IssuerProfile, IssuersError, load_issuers
from app.access.claims import principal_of
from app.access.file_keys import FileKeys
from app.access.issuers import Issuer
from app.access.rbac import Rbac, load_rbac
from app.model import Grant
from devstack.issuer import LocalIssuer

EXAMPLES = (Path(__file__).parent.parent.parent / "docs" / "issuers.md").read_text()
DEFAULTS = IssuerProfile(leeway_seconds=7, permission_claims=("mine",))


def loaded(tmp_path: Path, text: str) -> tuple[IssuerProfile, ...]:
    file = tmp_path / "issuers.toml"
    file.write_text(text)
    return load_issuers(file, DEFAULTS)


def test_what_a_table_does_not_say_is_as_in_the_settings(tmp_path: Path) -> None:
    first, second = loaded(
        tmp_path,
        """
        [[issuer]]
        issuer = "https://a.example"
        audience = ["x", "y"]
        discovery = true
        [[issuer]]
        issuer = "https://b.example"
        audience = ["x"]
        jwks_url = "https://b.example/keys"
        algorithms = ["EdDSA"]
        leeway_seconds = 0
        service_claim = "/nested/name"
        """,
    )
    assert (first.audience, first.leeway_seconds, first.permission_claims) == (("x", "y"), 7, ("mine",))
    assert (second.algorithms, second.leeway_seconds) == (("EdDSA",), 0)
    assert (second.jwks_url, second.discovery, second.service_claim) == (
        "https://b.example/keys",
        False,
        "/nested/name",
    )


LEAST = '[[issuer]]\nissuer = "https://a.example"\naudience = ["x"]\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "at least one"),
        ("issuer = 1", "at least one"),
        ("other = 1\n" + LEAST + "discovery = true", "other: unknown"),
        ("issuer = [1]", "issuer 1: must be written [[issuer]]"),
        ("[[issuer", "is not TOML"),
        (LEAST, "exactly one of jwks_url, public_key_file, discovery"),
        (LEAST + 'discovery = true\njwks_url = "https://a.example/k"', "exactly one of"),
        (LEAST + "discovery = false", "exactly one of"),
        (LEAST + 'discovery = "yes"', "discovery"),
        (LEAST + 'jwks_url = "file:///etc/passwd"', "jwks_url: must be an http or https URL"),
        (LEAST + 'public_key_file = "/no/such/file"', "public_key_file: no such file"),
        (LEAST + 'discovery = true\nalgorithms = ["HS256"]', "algorithms"),
        (LEAST + 'discovery = true\nalgorithms = ["none"]', "algorithms"),
        (LEAST + "discovery = true\nalgorithms = []", "algorithms"),
        (LEAST + "discovery = true\nmax_lifetime_seconds = 0", "max_lifetime_seconds"),
        (LEAST + "discovery = true\nleeway_seconds = -1", "leeway_seconds"),
        (LEAST + "discovery = true\nleeway = 1", "leeway: Unknown field"),
        ('[[issuer]]\naudience = ["x"]\ndiscovery = true', "issuer: Missing"),
        ('[[issuer]]\nissuer = "https://a.example"\naudience = []\ndiscovery = true', "audience"),
        (LEAST + 'jwks_url = "http://a.example"\ntoken_file = "/dev/null"', "token_file: no such file"),
        (LEAST + "discovery = true\n" + LEAST + "discovery = true", "the same issuer"),
    ],
)
def test_what_is_wrong_in_the_file_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(IssuersError) as refused:
        loaded(tmp_path, text)
    assert told in "; ".join(refused.value.problems)


def test_all_faults_are_told_at_once_with_the_number_of_their_table(tmp_path: Path) -> None:
    with pytest.raises(IssuersError) as refused:
        loaded(tmp_path, LEAST + '[[issuer]]\nissuer = ""\naudience = ["x"]\ndiscovery = true\nmisspelt = 1\n')
    assert [problem[:8] for problem in refused.value.problems] == ["issuer 1", "issuer 2", "issuer 2"]


def test_a_login_for_the_key_set_goes_to_one_named_server_over_https_only(tmp_path: Path) -> None:
    login = f'token_file = "{tmp_path / "token"}"\n'
    (tmp_path / "token").write_text("t0ken")
    for source in ("discovery = true\n", 'jwks_url = "http://a.example/keys"\n'):
        with pytest.raises(IssuersError, match="needs a jwks_url with https"):
            loaded(tmp_path, LEAST + source + login)
    (profile,) = loaded(tmp_path, LEAST + 'jwks_url = "https://a.example/keys"\n' + login)
    assert profile.token_file == tmp_path / "token"


def example(heading: str, number: int = 0) -> str:
    """A block of the page, with files that are not on this machine left out."""
    section = EXAMPLES.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    block = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)[number]
    return "\n".join(line for line in block.splitlines() if not line.startswith(("ca_file", "token_file")))


def real(provider: LocalIssuer, profile: IssuerProfile, tmp_path: Path) -> Issuer:
    (tmp_path / "key.pem").write_text(provider.key().pem)
    return Issuer(
        profile.issuer,
        frozenset(profile.audience),
        profile.algorithms,
        FileKeys(tmp_path / "key.pem", algorithms=["RS256"]),
        permission_claims=profile.permission_claims,
        service_claim=profile.service_claim,
        env_claim=profile.env_claim,
    )


@pytest.mark.parametrize(
    ("provider", "claims", "service", "grant"),
    [
        (
            "Keycloak",
            {
                "typ": "Bearer",
                "azp": "pay",
                "client_id": "pay",
                "scope": "profile email",
                "resource_access": {"config-server": {"roles": ["config:read"]}, "other": {"roles": ["config:write"]}},
            },
            "pay",
            Grant("read"),
        ),
        ("Auth0", {"azp": "x", "gty": "client-credentials", "permissions": ["config:view"]}, None, Grant("view")),
        ("Entra", {"ver": "2.0", "tid": "1", "roles": ["config:read:pay/prod"]}, None, Grant("read", "pay", "prod")),
        ("Okta", {"ver": 1, "cid": "pay", "scp": ["config:read"]}, "pay", Grant("read")),
    ],
)
def test_the_example_for_a_provider_reads_its_tokens(
    tmp_path: Path, issuer: LocalIssuer, provider: str, claims: dict[str, object], service: str | None, grant: Grant
) -> None:
    (tmp_path / "i.toml").write_text(example(provider))
    (profile,) = load_issuers(tmp_path / "i.toml", IssuerProfile())
    told = {"iss": profile.issuer, "aud": [profile.audience[0], "account"], "sub": "x", "iat": 1, "exp": 3000, **claims}
    principal = principal_of(told, real(issuer, profile, tmp_path), Rbac(), now=2.0)
    assert (principal.service, principal.grants) == (service, (grant,))


@pytest.mark.parametrize(
    ("namespace", "name", "grants"),
    [
        ("shop", "pay", (Grant("read"),)),
        ("attacker", "pay", ()),
        ("tools", "dashboard", (Grant("view"),)),
        ("attacker", "dashboard", ()),
    ],
)
def test_a_service_account_of_another_namespace_has_nothing(
    tmp_path: Path, issuer: LocalIssuer, namespace: str, name: str, grants: tuple[Grant, ...]
) -> None:
    (tmp_path / "i.toml").write_text(example("Kubernetes service accounts"))
    (tmp_path / "rbac.toml").write_text(example("Kubernetes service accounts", 1))
    (profile,) = load_issuers(tmp_path / "i.toml", IssuerProfile())
    told = {
        "iss": profile.issuer,
        "aud": ["config-server"],
        "sub": f"system:serviceaccount:{namespace}:{name}",
        "iat": 1,
        "exp": 3000,
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": "1"}, "pod": {"name": "p"}},
    }
    principal = principal_of(told, real(issuer, profile, tmp_path), load_rbac(tmp_path / "rbac.toml"), now=2.0)
    assert (principal.service, principal.grants) == (name, grants)


def test_the_example_of_the_whole_table_loads(tmp_path: Path) -> None:
    block = re.findall(r"```toml\n(.*?)```", EXAMPLES, re.DOTALL)[0]
    assert loaded(tmp_path, block)[0].env_claim == "env"
