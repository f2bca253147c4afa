"""Vault sealed, killed, or full of surprises, under a running server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack.bao import Bao, running_bao
from devstack.issuer import LocalIssuer
from tests.serving import VAULT_HANGS, Serving, serving
from tests.support import eventually

REFERENCE = "${{vault:kv/services/{0}/prod/db#password}}"


@pytest.fixture
def own_bao() -> Iterator[Bao]:
    with running_bao() as server:
        yield server


def _stale(running: Serving, coordinates: str) -> list[str]:
    answer = running.get(coordinates)
    reasons = [each["reason"] for each in answer.json().get("stale", ())]
    assert [part.split(";")[0] for part in answer.headers.get("X-Config-Stale", "").split(", ") if part] == reasons
    return reasons


def test_a_sealed_vault_is_told_while_its_secrets_are_served(tmp_path: Path, issuer: LocalIssuer, own_bao: Bao) -> None:
    own_bao.put("services/pay/prod/db", {"password": "one"})
    files = {"pay.yml": f"a: {REFERENCE.format('pay')}\n", "cold.yml": f"a: {REFERENCE.format('cold')}\n"}
    with serving(tmp_path, issuer, files, vault=own_bao, secret_ttl_seconds=0.1) as running:
        fresh = running.get("pay/prod")
        own_bao.root.sys.seal()

        eventually(lambda: _stale(running, "pay/prod") == ["vault"])
        answer = running.get("pay/prod")
        assert answer.json()["config"] == {"a": "one"}
        assert answer.headers["ETag"] == fresh.headers["ETag"]
        assert "since" in answer.json()["stale"][0]
        again = running.get("pay/prod", headers={"If-None-Match": fresh.headers["ETag"]})
        assert (again.status_code, again.headers["X-Config-Stale"][:5]) == (304, "vault")

        cold = running.get("cold/prod")
        assert (cold.status_code, cold.json()["type"]) == (503, "urn:config-server:secrets-unavailable")
        assert int(cold.headers["Retry-After"]) >= 1
        assert running.ask("/health/ready").status_code == 200
        assert running.ask("/health").json()["parts"]["vault"]["status"] == "degraded"


def test_without_grace_a_document_is_whole_or_an_error(tmp_path: Path, issuer: LocalIssuer, own_bao: Bao) -> None:
    own_bao.put("services/pay/prod/db", {"password": "one"})
    files = {"pay.yml": f"a: {REFERENCE.format('pay')}\nb: plain\n"}
    settings = {"secret_ttl_seconds": 0.1, "secret_grace_seconds": 0.0}
    with serving(tmp_path, issuer, files, vault=own_bao, **settings) as running:
        assert running.config("pay/prod") == {"a": "one", "b": "plain"}
        own_bao.stop()

        eventually(lambda: running.get("pay/prod").status_code == 503)
        assert "plain" not in running.get("pay/prod").text


def test_a_vault_that_hangs_is_waited_for_briefly_and_forgiven(
    tmp_path: Path, issuer: LocalIssuer, own_bao: Bao
) -> None:
    own_bao.put("services/pay/prod/db", {"password": "one"})
    files = {"pay.yml": f"a: {REFERENCE.format('pay')}\n"}
    with serving(tmp_path, issuer, files, vault=own_bao, secret_ttl_seconds=0.1, timings=VAULT_HANGS) as running:
        eventually(lambda: running.get("pay/prod").status_code == 200)
        own_bao.pause()
        try:
            eventually(lambda: _stale(running, "pay/prod") == ["vault"])
        finally:
            own_bao.resume()
        eventually(lambda: _stale(running, "pay/prod") == [])
        assert running.ask("/health").json()["parts"]["vault"]["status"] == "ok"


def test_a_new_commit_with_a_cold_secret_waits_for_vault(tmp_path: Path, issuer: LocalIssuer, own_bao: Bao) -> None:
    own_bao.put("services/pay/prod/db", {"password": "one"})
    own_bao.put("services/pay/prod/new", {"password": "new"})
    text = f"a: {REFERENCE.format('pay')}\n"
    settings: dict[str, Any] = {"secret_ttl_seconds": 0.1, "secret_watch_seconds": 0.2, "timings": VAULT_HANGS}
    with serving(tmp_path, issuer, {"pay.yml": text}, vault=own_bao, **settings) as running:
        eventually(lambda: running.get("pay/prod").status_code == 200)
        good = running.body("pay/prod")["version"]
        own_bao.pause()
        try:
            head = running.push({"pay.yml": text + "b: ${vault:kv/services/pay/prod/new#password}\n"})
            body = running.body("pay/prod")
            assert (body["version"], body["head"], body["config"]) == (good, head, {"a": "one"})
            assert [each["reason"] for each in body["stale"]] == ["vault"]
            assert body["stale"][0]["commit"] == head
        finally:
            own_bao.resume()
        eventually(lambda: running.config("pay/prod") == {"a": "one", "b": "new"})


class TestWhatASecretMayBe:
    """On the shared server: each test has a service of its own."""

    def test_a_map_cannot_stand_inside_a_text(self, bench: Serving, bao: Bao) -> None:
        service = bench.new_service()
        bao.put(f"services/{service}/prod/db", {"password": {"a": 1}})
        bench.push({f"{service}.yml": f'"odd:key": x-{REFERENCE.format(service)}\n'})

        answer = bench.get(f"{service}/prod")

        assert (answer.status_code, answer.json()["keys"]) == (422, ['["odd:key"]'])

    def test_a_key_that_the_document_lacks_is_named_by_its_property(self, bench: Serving, bao: Bao) -> None:
        service = bench.new_service()
        bao.put(f"services/{service}/prod/db", {"other": 1})
        bench.push({f"{service}.yml": f"db: {{password: '{REFERENCE.format(service)}'}}\n"})

        answer = bench.get(f"{service}/prod")

        assert (answer.status_code, answer.json()["keys"]) == (422, ["db.password"])
        assert service not in answer.json()["detail"]

    def test_denied_and_missing_look_alike(self, bench: Serving, bao: Bao) -> None:
        service = bench.new_service()
        policy = f'path "secret/data/services/{service}/prod/denied" {{ capabilities = ["deny"] }}'
        bao.root.sys.create_or_update_policy("config-server-denied", policy)
        bench.push({f"{service}.yml": f"a: ${{vault:kv/services/{service}/prod/missing#k}}\n"})
        missing = bench.get(f"{service}/prod").json()
        bench.push({f"{service}.yml": f"a: ${{vault:old/services/{service}/prod/missing#k}}\n"})
        other = bench.get(f"{service}/prod").json()

        for answer in (missing, other):
            answer.pop("request_id")
        assert missing == other
        assert missing["keys"] == ["a"]

    @pytest.mark.parametrize("alias", ["kv", "old"])
    def test_what_vault_has_later_mends_it(
        self, tmp_path: Path, issuer: LocalIssuer, bao: Bao, alias: str, numbers: Iterator[int]
    ) -> None:
        path = f"services/pay/prod/late{next(numbers)}"
        mount = "kv1" if alias == "old" else "secret"
        files = {"pay.yml": f"a: ${{vault:{alias}/{path}#k}}\n"}
        with serving(tmp_path, issuer, files, vault=bao) as running:
            assert running.get("pay/prod").status_code == 422
            bao.put(path, {"k": "v"}, mount=mount)
            eventually(lambda: running.get("pay/prod").status_code == 200)
            assert running.config("pay/prod") == {"a": "v"}

    def test_a_pinned_version_of_an_engine_without_versions_is_the_current_one(self, bench: Serving, bao: Bao) -> None:
        service = bench.new_service()
        bao.put(f"services/{service}/prod/db", {"password": "one"}, mount="kv1")
        bench.push({f"{service}.yml": f"a: ${{vault:old/services/{service}/prod/db#password@7}}\n"})
        before = bench.body(f"{service}/prod")
        bao.put(f"services/{service}/prod/db", {"password": "two"}, mount="kv1")
        bench.server.services.secrets.forget_all()  # as the TTL does after a minute

        eventually(lambda: bench.config(f"{service}/prod")["a"] == "two")
        assert bench.body(f"{service}/prod")["etag"] != before["etag"]

    def test_two_properties_at_two_versions_are_both_right(self, bench: Serving, bao: Bao) -> None:
        service = bench.new_service()
        for value in ("one", "two"):
            bao.put(f"services/{service}/prod/db", {"password": value})
        reference = f"${{vault:kv/services/{service}/prod/db#password"
        bench.push(
            {f"{service}.yml": f"old: {reference}@1}}\nnew: {reference}}}\nboth: {reference}@1}}{reference}}}\n"}
        )

        config = bench.config(f"{service}/prod")

        assert (config["old"], config["new"], config["both"]) == ("one", "two", "onetwo")


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return itertools.count()
