"""A held branch is served as it was, everywhere and for so long; then where it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from devstack.server import Server
from devstack.valkey import Valkey
from tests.blueprints.test_streams import following
from tests.changes.conftest import FILES, SETTINGS, Admin
from tests.cluster.clients import ask
from tests.serving import serving, serving_origin
from tests.support import eventually


def held(admin: Admin, commit: str, *, seconds: float = 60) -> dict[str, Any]:
    answer = admin.post("hold", {"commit": commit, "seconds": seconds, "reason": "INC-7: a bad pool"})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_held_branch_is_served_as_it_was_and_says_so(admin: Admin) -> None:
    good = admin.head
    bad = admin.serving.push({"pay-prod.yml": "db:\n  pool: 500\n"})
    body = held(admin, good)
    answer = admin.serving.body("pay/prod")
    assert body["commit"] == good
    assert answer["config"]["db"]["pool"] == 9
    assert (answer["version"], answer["head"]) == (good, bad)
    (stale,) = answer["stale"]
    assert (stale["reason"], stale["commit"], stale["detail"]) == ("held", bad, "INC-7: a bad pool")
    assert "held" in admin.serving.get("pay/prod").headers["X-Config-Stale"]
    assert admin.serving.get("pay/prod").headers["X-Config-Rev"] == body["rev"]


def test_push_meanwhile_is_served_when_the_hold_is_let_go(admin: Admin) -> None:
    good = admin.head
    held(admin, good)
    later = admin.serving.push({"pay-prod.yml": "db:\n  pool: 10\n"})
    assert admin.serving.body("pay/prod")["version"] == good
    assert admin.serving.body("pay/prod")["head"] == later
    assert admin.post("hold/release", {}).status_code == 200
    answer = admin.serving.body("pay/prod")
    assert (answer["version"], answer["config"]["db"]["pool"]) == (later, 10)
    assert "stale" not in answer
    assert admin.post("hold/release", {}).status_code == 400


@pytest.mark.slow
def test_streams_are_told_of_a_hold_and_of_its_end(admin: Admin) -> None:
    good = admin.head
    admin.serving.push({"pay-prod.yml": "db:\n  pool: 500\n"})
    with following(admin.serving, "topic=pay/prod") as stream:
        stream.until("sync")
        held(admin, good, seconds=4)
        began = json.loads(stream.until("change")[-1].data)
        assert (began["version"], began["doc"]["db"]["pool"]) == (good, 9)
        assert began["stale"][0]["reason"] == "held"
        ended = json.loads(stream.until("change")[-1].data)
        assert ended["doc"]["db"]["pool"] == 500
        assert "stale" not in ended
    assert "stale" not in admin.serving.body("pay/prod")


def test_hold_outlives_a_restart(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, FILES, **SETTINGS) as running:
        admin, origin = Admin(running), running.origin
        good = admin.head
        admin.serving.push({"pay-prod.yml": "db:\n  pool: 500\n"})
        held(admin, good)
        admin.serving.refresh()
    with serving_origin(tmp_path, issuer, origin, **SETTINGS) as again:
        assert again.body("pay/prod")["version"] == good
        assert again.body("pay/prod")["stale"][0]["reason"] == "held"
        Admin(again).post("hold/release", {})
        assert again.config("pay/prod")["db"]["pool"] == 500


def test_hold_needs_no_git_server_and_no_credentials_to_write(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, FILES, envs=("prod", "dev")) as running:
        admin = Admin(running)
        good = admin.head
        admin.serving.push({"pay-prod.yml": "db:\n  pool: 500\n"})
        running.origin.bare.rename(tmp_path / "away")
        held(admin, good)
        assert admin.serving.config("pay/prod")["db"]["pool"] == 9


def test_hold_is_on_the_trail_before_it_is_done(admin: Admin) -> None:
    good = admin.head
    held(admin, good)
    admin.post("hold/release", {})
    begun, ended = admin.records("label.")
    assert (begun["action"], begun["version"], begun["detail"]) == ("label.hold", good, "for 60 s: INC-7: a bad pool")
    assert (ended["action"], ended["subject"]) == ("label.release", "ada@example.org")
    admin.serving.server.services.trail.close()
    assert admin.post("hold", {"commit": good, "seconds": 9, "reason": "r"}).status_code == 503
    assert "stale" not in admin.serving.body("pay/prod")
    admin.serving.server.services.trail.start()


def test_only_a_commit_that_the_branch_has_been_at_can_be_held(admin: Admin) -> None:
    admin.origin.branch("other")
    commit = admin.origin.write({"pay.yml": "a: 1\n"})
    admin.serving.refresh()
    for text in (commit, "other", "nowhere", "0" * 40):
        assert admin.post("hold", {"commit": text, "seconds": 9, "reason": "r"}).status_code == 400
    for body in ({"seconds": 0}, {"seconds": 10**7}, {"reason": ""}, {"commit": "--all"}, {"label": admin.head}):
        order = {"commit": "main", "seconds": 9, "reason": "r", **body}
        assert admin.post("hold", order).status_code == 400, body


def test_changes_are_made_where_the_branch_stands_not_where_it_is_held(admin: Admin) -> None:
    good = admin.head
    bad = admin.serving.push({"pay-prod.yml": "db:\n  pool: 500\n"})
    held(admin, good)
    answer = admin.change({"file": "pay-prod.yml", "set": {"db.pool": 12}}, base=bad)
    assert answer.status_code == 200
    assert admin.serving.config("pay/prod")["db"]["pool"] == 9
    admin.post("hold/release", {})
    assert admin.serving.config("pay/prod")["db"]["pool"] == 12


@pytest.mark.slow
def test_hold_reaches_every_worker_of_every_host(tmp_path: Path, issuer: LocalIssuer) -> None:
    origin = OriginRepo(tmp_path / "origin")
    good = origin.write(FILES)
    origin.write({"pay-prod.yml": "db:\n  pool: 500\n"})
    key = tmp_path / "key"
    key.write_text("k" * 40)
    valkey = Valkey(tmp_path / "valkey").start()
    common = {
        "REPO_URL": origin.url, "JWT_ISSUER": issuer.url, "JWT_AUDIENCE": issuer.audience,
        "JWT_JWKS_URL": issuer.jwks_url, "REDIS_URL": valkey.url, "KEY_FILE": str(key), "WORKERS": "1",
    }  # fmt: skip
    hosts = [Server(tmp_path / name, common) for name in ("one", "two")]
    token = issuer.token(sub="ada", scope="config:write")

    def pools() -> set[int]:
        answers = [ask(host, "/v1/config/pay/prod", token) for host in hosts]
        return {answer.json()["config"]["db"]["pool"] for answer in answers}

    try:
        for host in hosts:
            host.start()
        assert pools() == {500}
        order = {"commit": good, "seconds": 60, "reason": "r"}
        assert ask(hosts[0], "/v1/admin/hold", token, "POST", json=order).status_code == 200
        eventually(lambda: pools() == {9})
        assert ask(hosts[1], "/v1/admin/hold/release", token, "POST", json={}).status_code == 200
        eventually(lambda: pools() == {500})
    finally:
        for host in hosts:
            host.close()
        valkey.close()
