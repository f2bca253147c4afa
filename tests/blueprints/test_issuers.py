"""Several issuers at once, on a running server: each has its own keys, rules and revocations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from devstack.issuer import LocalIssuer
from tests.serving import EVERYTHING, Serving, serving
from tests.support import eventually


@dataclass(frozen=True)
class Two:
    """A server that trusts `staff` (by discovery, permissions in a nested claim) and `machines` (by its JWKS)."""

    server: Serving
    staff: LocalIssuer
    machines: LocalIssuer

    def read(self, token: str, service: str = "pay") -> httpx.Response:
        return self.server.get(f"{service}/prod", token=token)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    directory = tmp_path_factory.mktemp("issuers")
    files = {"pay.yml": "pool: 5\n", "orders.yml": "pool: 6\n"}
    with LocalIssuer(audience="staff") as staff, LocalIssuer(audience="machines") as machines:
        file = directory / "issuers.toml"
        file.write_text(described(staff, machines))
        several: dict[str, Any] = {"jwt_issuer": None, "jwt_audience": (), "jwt_jwks_url": None, "issuers_file": file}
        several["streams_per_subject"] = 2
        with serving(directory, staff, files, **several) as running:
            yield Two(running, staff, machines)


def described(staff: LocalIssuer, machines: LocalIssuer) -> str:
    return f"""
        [[issuer]]
        issuer = "{staff.url}"
        audience = ["staff"]
        discovery = true
        algorithms = ["RS256"]
        permission_claims = ["/realm_access/roles"]

        [[issuer]]
        issuer = "{machines.url}"
        audience = ["machines"]
        jwks_url = "{machines.jwks_url}"
        algorithms = ["ES256"]
        permission_claims = ["scope"]
        service_claim = "/client/name"
        max_lifetime_seconds = 600
    """


def of_staff(two: Two, **claims: object) -> str:
    return two.staff.token(**{"realm_access": {"roles": ["config:write", "config:view"]}, **claims})  # type: ignore[arg-type]


def of_machines(two: Two, **claims: object) -> str:
    given = {"scope": "config:read", "client": {"name": "pay"}, "lifetime": 300, "algorithm": "ES256", **claims}
    return two.machines.token(**given)  # type: ignore[arg-type]


def test_tokens_of_each_issuer_are_read_by_its_own_profile(two: Two) -> None:
    assert two.read(of_staff(two)).status_code == 200
    assert two.read(of_machines(two)).status_code == 200
    assert two.read(of_machines(two), "orders").status_code == 403


@pytest.mark.parametrize("case", ["key", "kid", "audience", "algorithm", "lifetime", "claims", "service"])
def test_no_rule_of_one_issuer_counts_for_another(two: Two, case: str) -> None:
    staff, machines = two.staff, two.machines
    refused = {
        "key": of_machines(two, key=staff.key("ES256")),
        "kid": of_machines(two, key=staff.key("ES256"), headers={"kid": machines.key("ES256").kid}),
        "audience": of_machines(two, aud="staff"),
        "algorithm": of_machines(two, algorithm="RS256"),
        "lifetime": of_machines(two, lifetime=3600),
    }
    if case in refused:
        answer = two.read(refused[case])
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    elif case == "claims":
        assert two.read(of_machines(two, scope=None, realm_access={"roles": ["config:view"]})).status_code == 403
        assert two.read(of_staff(two, realm_access=None, scope="config:view")).status_code == 403
    else:
        assert two.read(of_machines(two, client=None, service="pay")).status_code == 403


def test_the_issuer_in_the_token_decides_and_the_key_id_does_not(two: Two) -> None:
    """Signed well, by a key of the set, in the name of the other one."""
    forged = of_staff(two, iss=two.machines.url, aud="machines", scope=EVERYTHING)
    assert two.read(forged).status_code == 401
    forged = two.machines.token(
        iss=two.staff.url, aud="staff", headers={"kid": two.staff.key().kid}, realm_access={"roles": ["config:write"]}
    )
    assert two.read(forged).status_code == 401


def test_a_subject_is_revoked_at_its_issuer_and_nowhere_else(two: Two) -> None:
    def revoke(**body: str) -> httpx.Response:
        return two.server.ask("/v1/admin/revocations", method="POST", token=of_staff(two), json=body)

    theirs, ours = of_machines(two, sub="ada"), of_staff(two, sub="ada")
    for unnamed in ({"kind": "sub", "value": "ada"}, {"kind": "sub", "value": "ada", "issuer": "https://typo.example"}):
        answer = revoke(**unnamed)
        assert (answer.status_code, answer.json()["field"]) == (400, "issuer")
    assert revoke(kind="sub", value="ada", issuer=two.machines.url).status_code == 204
    assert (two.read(theirs).status_code, two.read(ours).status_code) == (401, 200)


def test_streams_and_acks_of_a_subject_are_its_issuers(two: Two) -> None:
    """An "ada" of the other issuer neither fills her places nor speaks for her streams."""
    topic = "pay/prod/main"
    with httpx.Client(base_url=two.server.server.url, trust_env=False, timeout=60) as client, ExitStack() as open_:

        def follow(token: str) -> httpx.Response:
            headers = {"Authorization": f"Bearer {token}"}
            return open_.enter_context(client.stream("GET", f"/v1/events?topic={topic}", headers=headers))

        mine = follow(of_staff(two, sub="eve"))
        assert [follow(of_staff(two, sub="eve")).status_code for _ in range(2)] == [200, 429]
        assert follow(of_machines(two, sub="eve")).status_code == 200
        lines = mine.iter_lines()  # kept: the stream is closed with it
        hello = next(line for line in lines if line.startswith("data:"))
        said = {"conn": json.loads(hello[5:])["conn"], "topic": topic, "rev": "1-1.1", "etag": "0" * 32}

        def acknowledged(token: str) -> int:
            body = {**said, "status": "applied"}
            return two.server.ask("/v1/acks", method="POST", token=token, json=body).status_code

        eventually(lambda: acknowledged(of_staff(two, sub="eve")) == 204)
        assert acknowledged(of_machines(two, sub="eve")) == 404


def test_one_issuer_that_is_away_is_told_and_the_other_serves(tmp_path: Path) -> None:
    with LocalIssuer(audience="machines") as machines:
        with LocalIssuer(audience="staff") as staff:
            (tmp_path / "issuers.toml").write_text(described(staff, machines))
        several: dict[str, Any] = {"jwt_issuer": None, "jwt_audience": (), "jwt_jwks_url": None}
        with serving(
            tmp_path, machines, {"pay.yml": "a: 1\n"}, issuers_file=tmp_path / "issuers.toml", **several
        ) as running:
            two = Two(running, staff, machines)
            assert two.read(of_machines(two)).status_code == 200
            assert two.read(of_staff(two)).status_code == 401
            report = running.ask("/health", token="").json()
            assert (report["ready"], report["parts"]["keys"]["status"]) == (True, "down")
