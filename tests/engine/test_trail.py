"""What the audit trail of a server holds, and that it can be proven."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from tests.serving import BRISK, VIEW_ALL, Serving, serving, serving_origin
from tests.support import eventually

#: Reads that are counted together are of one minute, and none begins before the year 2286.
ONE_MINUTE = replace(BRISK, audit_minute=1e10)
PAY = {"pay.yml": "a: ${vault:kv/services/pay/prod/trail#password}\n", "plain.yml": "n: 1\n"}


def _records(running: Serving) -> list[dict[str, Any]]:
    """Those that are written whole; they are waited for one by one, so a line under way is passed over."""
    return [json.loads(line) for line in running.trail()]


def _reads_of(running: Serving, subject: str | None = None) -> list[dict[str, Any]]:
    read = [each for each in _records(running) if each["action"] == "secrets.read"]
    return [each for each in read if subject in (None, each["subject"])]


def _flushed(running: Serving) -> None:
    running.server.services.audit.flush_due(time.time() + 2 * running.server.settings.timings.audit_minute)


def test_reads_of_secrets_are_counted_per_principal_and_configuration(
    tmp_path: Path, issuer: LocalIssuer, bao: Bao
) -> None:
    bao.put("services/pay/prod/trail", {"password": "one"})
    with serving(tmp_path, issuer, PAY, vault=bao, timings=ONE_MINUTE) as running:
        alice, bob = running.token(sub="alice"), running.token(sub="bob")
        for _ in range(3):
            held = running.get("pay/prod", token=alice).headers["ETag"]
        running.get("pay/prod", token=bob)
        running.get("pay/prod", token=alice, headers={"If-None-Match": held})  # nothing was shown
        running.get("plain/prod", token=alice)  # no secret in it
        running.get("pay/prod", token=running.token(VIEW_ALL, sub="viewer"))  # masked
        _flushed(running)
        reads = eventually(lambda: _reads_of(running, "alice") and _reads_of(running, "bob") and _reads_of(running))

    assert {(each["subject"], each["count"]) for each in reads} == {("alice", 3), ("bob", 1)}
    assert {each["target"] for each in reads} == {"pay/prod/main"}
    assert all((each["keys"], each["outcome"]) == (["a"], "allowed") for each in reads)
    assert all(each["request_id"] and each["version"] and each["address"] for each in reads)


def test_a_refresh_is_on_the_disk_before_it_is_answered(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, PAY) as running:
        token = running.token("config:write", sub="admin")
        answer = running.ask("/v1/admin/refresh", method="POST", token=token)
        records = [each for each in _records(running) if each["action"] == "config.refresh"]

    assert [(each["subject"], each["request_id"]) for each in records] == [("admin", answer.headers["X-Request-ID"])]


def test_what_cannot_be_recorded_does_not_happen(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, PAY) as running:
        running.server.services.trail.close()  # as good as a disk that takes nothing
        refused = running.refresh()
        read = running.get("plain/prod")

    assert (refused.status_code, refused.json()["type"]) == (503, "urn:config-server:audit-unavailable")
    assert read.status_code == 200


@pytest.mark.parametrize("name", ["a\u202eb", "x" * 129, "a%0ab"])
def test_names_that_are_refused_forge_no_record(tmp_path: Path, issuer: LocalIssuer, name: str) -> None:
    with serving(tmp_path, issuer, PAY) as running:
        assert running.get(f"{name}/prod").status_code == 400
        assert running.get(f"{name}/prod", token="").status_code == 401
        _flushed(running)
        (denied,) = eventually(lambda: [each for each in _records(running) if each["outcome"] == "denied"])

    assert (denied["subject"], denied["count"]) == (None, 1)


def test_the_chain_of_a_server_that_was_restarted_is_whole(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, PAY) as running:
        running.get("pay/prod", token=running.token("config:read:other", sub="mallory"))
        origin, directory = running.origin, running.server.settings.audit_path
    with serving_origin(tmp_path, issuer, origin) as again:
        again.refresh()
    command = [sys.executable, "-m", "app", "audit", "verify", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, "2 records, intact" in done.stdout) == (0, True), done.stdout + done.stderr
