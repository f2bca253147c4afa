"""GET /v1/admin/audit of a running server, and a disk that takes no more."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.audit import AuditEvent, AuditTrail, Outcome, verify_directory
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from devstack.server import Server
from devstack.valkey import Valkey
from tests.serving import BRISK, Serving, serving, serving_origin
from tests.support import eventually

AUDITOR = "config:audit"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("audit"), issuer, {"pay.yml": "n: 1\n"}, git_write=True) as server:
        for _ in range(3):
            server.refresh()
        yield server


def audit(running: Serving, **query: str | int) -> httpx.Response:
    return running.ask("/v1/admin/audit", token=running.token(AUDITOR), params=query)


def test_who_did_what_is_told_newest_first_page_by_page(running: Serving) -> None:
    first = audit(running, action="config.refresh", limit=2).json()
    second = audit(running, action="config.refresh", limit=2, cursor=first["next"]).json()
    records = first["records"] + second["records"]
    assert first["scope"] == "host"
    assert [record["seq"] for record in records] == sorted((record["seq"] for record in records), reverse=True)
    assert len(first["records"]) == 2
    assert second["records"]
    assert {record["action"] for record in records} == {"config.refresh"}
    assert records[0]["host"]


def test_one_request_is_found_by_its_id(running: Serving) -> None:
    answer = running.refresh()
    (record,) = audit(running, request_id=answer.headers["X-Request-ID"]).json()["records"]
    assert (record["action"], record["subject"]) == ("config.refresh", "tester")


def test_denials_are_on_it(running: Serving) -> None:
    denied = running.ask("/v1/admin/audit", token=running.token("config:write", sub="eve"))
    assert denied.status_code == 403
    found = eventually(lambda: audit(running, subject="eve", outcome="denied").json()["records"])
    assert found[0]["action"] == "GET /v1/admin/audit"


def test_all_that_matches_comes_as_json_lines(running: Serving) -> None:
    answer = audit(running, format="jsonl", action="config.*")
    assert answer.headers["Content-Type"] == "application/jsonl"
    records = [json.loads(line) for line in answer.text.splitlines()]
    assert len(records) >= 3
    assert all(record["action"].startswith("config.") for record in records)
    asked = running.ask(
        "/v1/admin/audit?action=nothing", token=running.token(AUDITOR), headers={"Accept": "application/jsonl"}
    )
    assert (asked.status_code, asked.text) == (200, "")


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ({"since": "yesterday"}, 400, "since"),
        ({"since": "2026-01-31T12:00:00"}, 400, "since"),
        ({"limit": "0"}, 400, "limit"),
        ({"cursor": "?"}, 400, "cursor"),
        ({"outcome": "nice"}, 400, "outcome"),
        ({"nonsense": "1"}, 400, "nonsense"),
        ({"format": "jsonl", "limit": "5"}, 400, "limit"),
        ({"scope": "cluster"}, 501, None),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else None,
)
def test_a_question_that_is_none_is_refused(
    running: Serving, query: dict[str, str], status: int, field: str | None
) -> None:
    answer = audit(running, **query)
    assert (answer.status_code, answer.json().get("field")) == (status, field)


def test_times_are_compared_as_times(running: Serving) -> None:
    (newest,) = audit(running, action="config.refresh", limit=1).json()["records"]
    moved = newest["time"].replace("Z", "+00:00")
    assert audit(running, since=moved, until=moved).json()["records"] == []
    assert audit(running, since=moved, action="config.refresh").json()["records"][-1]["seq"] == newest["seq"]


@pytest.mark.slow
def test_every_host_tells_of_all_and_each_shows_what_the_other_hides(tmp_path: Path, issuer: LocalIssuer) -> None:
    valkey = Valkey(tmp_path / "valkey").start()
    key = tmp_path / "key"
    key.write_text("k" * 40)
    timings = replace(BRISK, audit_ship=0.05, audit_anchor=0.1)
    shared: dict[str, Any] = {"redis_url": valkey.url, "key_file": key, "timings": timings}
    trails = [tmp_path / name / "data" / "audit" for name in ("a", "b")]
    with ExitStack() as closing:
        closing.callback(valkey.close)
        first = closing.enter_context(serving(tmp_path / "a", issuer, {"pay.yml": "n: 1\n"}, **shared))
        second = closing.enter_context(serving_origin(tmp_path / "b", issuer, first.origin, **shared))
        names = [running.refresh().headers["X-Request-ID"] for running in (first, second)]

        def hosts(running: Serving, **query: str) -> dict[str, str]:
            found = audit(running, action="config.refresh", **query).json()["records"]
            return {record["request_id"]: record["host"] for record in found}

        eventually(lambda: hosts(first).keys() == hosts(second).keys() == set(names))
        assert len(set(hosts(first).values())) == 2
        assert hosts(first, scope="host").keys() == {names[0]}
        for running in (first, second):
            eventually(lambda running=running: audit(running, action="audit.anchor", scope="host").json()["records"])  # type: ignore[misc]

        valkey.stop()
        assert audit(first).status_code == 503
        assert hosts(second, scope="host").keys() == {names[1]}
    assert all(verdict.intact for verdict in verify_directory(*trails).values())
    (trails[0] / "worker-0.jsonl").write_bytes(b"")
    broken = [verdict.reason or "" for verdict in verify_directory(*trails).values() if not verdict.intact]
    assert len(broken) == 1
    assert broken[0].startswith("its end was cut off")


@pytest.mark.slow
def test_a_full_disk_stops_changes_and_not_reads_and_is_loud(tmp_path: Path, issuer: LocalIssuer) -> None:
    """The kernel refuses what would make a file larger than a limit, as it does on a full disk."""
    origin = OriginRepo(tmp_path / "origin")
    origin.write({"pay.yml": "n: 1\n"})
    settings = {
        "REPO_URL": origin.url,
        "JWT_ISSUER": issuer.url,
        "JWT_AUDIENCE": issuer.audience,
        "JWT_JWKS_URL": issuer.jwks_url,
        "GIT_WRITE": "true",
        "METRICS": "public",
    }
    trail = tmp_path / "host" / "data" / "audit"
    _fill(trail)  # so that the limit is beyond what the server's log needs
    server = Server(tmp_path / "host", settings).start()
    headers = {"Authorization": f"Bearer {issuer.token(scope='config:read:*/* config:write config:audit')}"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=30) as client:
        try:
            edit = {"file": "pay.yml", "set": {"n": 2}}
            order = {"base": origin.pushed(), "message": "more", "edits": [edit]}
            assert client.post("/v1/admin/refresh").status_code == 200
            before, size = origin.pushed(), (trail / "worker-0.jsonl").stat().st_size
            (worker,) = server.workers
            resource.prlimit(worker, resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))

            refused = client.post("/v1/admin/changes", json=order)
            assert (refused.status_code, refused.json()["type"]) == (503, "urn:config-server:audit-unavailable")
            assert "Retry-After" in refused.headers
            assert client.post("/v1/admin/refresh").status_code == 503
            hold = {"commit": before, "seconds": 9, "reason": "x"}
            assert client.post("/v1/admin/hold", json=hold).status_code == 503
            assert origin.pushed() == before
            assert client.get("/v1/config/pay/prod").json()["config"] == {"n": 1}
            assert client.get("/v1/admin/audit").json()["records"]
            health = client.get("/health").json()
            assert (health["ready"], health["parts"]["audit"]["status"]) == (True, "degraded")
            assert _sample(client, "config_server_audit_failures_total") >= 3
            lines = [line for line in server.log_lines() if line["message"] == "audit trail cannot be written"]
            assert [line["log.level"] for line in lines] == ["error"]

            resource.prlimit(worker, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            assert client.post("/v1/admin/changes", json=order).status_code == 200
            assert client.get("/health").json()["parts"]["audit"]["status"] == "ok"
        finally:
            server.close()
    assert all(verdict.intact for verdict in verify_directory(trail).values())
    assert os.listdir(tmp_path / "host" / "data" / "intents") == []


def _fill(directory: Path) -> None:
    trail = AuditTrail(directory, chain="worker-0", clock=time.time)
    trail.start()
    for _ in range(200):
        trail.record(AuditEvent("config.refresh", Outcome.ALLOWED))
    trail.close()


def _sample(client: httpx.Client, name: str) -> float:
    text = client.get("/metrics").text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))
