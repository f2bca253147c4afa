"""Rolling back and promoting: a dry run first, then exactly what it showed, by a new commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devstack.issuer import LocalIssuer
from devstack.origin import git
from tests.changes.conftest import FILES, Admin, by_key
from tests.changes.test_plan import targets
from tests.serving import serving


def dry_run(admin: Admin, what: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = admin.post(what, body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["dry_run"] is True
    plan: dict[str, Any] = answer.json()["plan"]
    return plan


@pytest.fixture
def incident(admin: Admin) -> str:
    """A good commit, whose id is given; then a bad one, and a later one that has nothing to do with it."""
    good = admin.head
    bad: dict[str, str | bytes | None] = {
        "pay.yml": "db:\n  pool: 500\n", "pay-prod.yml": None, "pay-new.yml": "a: 1\n", "logback.xml": "<bad/>\n",
    }  # fmt: skip
    admin.serving.push(bad)
    admin.serving.push({"shop.yml": "items: [later]\n"})
    return good


def test_rollback_of_a_service_restores_its_files_and_no_others(admin: Admin, incident: str) -> None:
    before = admin.head
    plan = dry_run(admin, "rollback", {"to": incident, "service": "pay"})
    assert plan["files"] == [{"path": "pay-prod.yml", "op": "add"}, {"path": "pay.yml", "op": "change"}]
    assert set(targets(plan)) == {"pay/prod", "pay/dev"}
    assert admin.origin.pushed() == before

    answer = admin.post("rollback", {"to": incident, "service": "pay", "confirm": plan["id"], "message": "INC-7"})
    assert answer.status_code == 200, answer.text
    assert admin.serving.config("pay/prod")["db"] == {"pool": 9, "url": "x"}
    assert admin.serving.config("shop/prod")["items"] == ["later"]
    assert git(admin.origin.bare, "log", "-1", "--format=%P|%an|%B", "main") == f"{before}|ada@example.org|INC-7"
    assert admin.origin.read("logback.xml") == "<bad/>"
    assert [each["action"] for each in admin.records()] == [
        *["config.refresh"] * 2, "config.rollback.begun", "config.rollback",
    ]  # fmt: skip


def test_rollback_of_everything_deletes_what_the_plan_shows(admin: Admin, incident: str) -> None:
    plan = dry_run(admin, "rollback", {"to": incident, "all": True})
    assert {(each["path"], each["op"]) for each in plan["files"]} == {
        ("pay-new.yml", "delete"), ("pay-prod.yml", "add"), ("pay.yml", "change"), ("logback.xml", "change"),
        ("shop.yml", "change"),
    }  # fmt: skip
    answer = admin.post("rollback", {"to": incident, "all": True, "confirm": plan["id"]})
    assert answer.status_code == 200
    assert git(admin.origin.bare, "diff", "--name-only", incident, "main") == ""
    assert git(admin.origin.bare, "log", "-1", "--format=%s", "main") == f"Roll back everything to {incident[:12]}"


def test_rollback_of_given_files_touches_only_them(admin: Admin, incident: str) -> None:
    body = {"to": incident, "files": ["logback.xml", "pay-new.yml"]}
    plan = dry_run(admin, "rollback", body)
    assert admin.post("rollback", {**body, "confirm": plan["id"]}).status_code == 200
    assert admin.origin.read("logback.xml") == str(FILES["logback.xml"]).strip()
    assert admin.origin.read("pay.yml") == "db:\n  pool: 500"
    assert "pay-new.yml" not in git(admin.origin.bare, "ls-tree", "--name-only", "main")


def test_plan_that_is_another_one_by_now_is_not_done(admin: Admin, incident: str) -> None:
    body = {"to": incident, "service": "pay"}
    plan = dry_run(admin, "rollback", body)
    theirs = admin.serving.push({"pay-dev.yml": None})
    answer = admin.post("rollback", {**body, "confirm": plan["id"]})
    assert answer.status_code == 409
    fresh = answer.json()["plan"]
    assert {each["path"] for each in fresh["files"]} == {"pay-dev.yml", "pay-prod.yml", "pay.yml"}
    assert admin.origin.pushed() == theirs
    assert admin.post("rollback", {**body, "confirm": fresh["id"]}).status_code == 200


def test_push_between_plan_and_confirmation_that_nobody_fetched_is_respected(admin: Admin, incident: str) -> None:
    body = {"to": incident, "service": "pay"}
    plan = dry_run(admin, "rollback", body)
    theirs = admin.origin.write({"pay-dev.yml": None})
    assert admin.post("rollback", {**body, "confirm": plan["id"]}).status_code == 409
    assert admin.origin.pushed() == theirs


def test_rollback_that_would_break_somebody_is_refused(admin: Admin) -> None:
    bad = admin.serving.push({"pay.yml": "db: [\n"})
    admin.serving.push({"pay.yml": "db: {pool: 1}\n"})
    plan = dry_run(admin, "rollback", {"to": bad, "service": "pay"})
    assert plan["breaks"] == ["pay/dev/main", "pay/prod/main"]
    answer = admin.post("rollback", {"to": bad, "service": "pay", "confirm": plan["id"]})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:config-server:would-break")


def test_links_are_left_alone_and_told(admin: Admin) -> None:
    good = admin.head
    (admin.origin.work / "link.yml").symlink_to("pay.yml")
    admin.serving.push({"shop.yml": "items: []\n"})
    plan = dry_run(admin, "rollback", {"to": good, "all": True})
    assert plan["skipped"] == ["link.yml"]
    assert [each["path"] for each in plan["files"]] == ["shop.yml"]
    assert admin.post("rollback", {"to": good, "all": True, "confirm": plan["id"]}).status_code == 200
    assert "link.yml" in git(admin.origin.bare, "ls-tree", "--name-only", "main")


def test_what_may_be_another_services_too_is_left_alone_and_told(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, FILES, git_write=True) as running:  # no ENVS: pay-prod may be a service
        admin = Admin(running)
        good = admin.head
        running.push({"pay-prod.yml": "db: {pool: 500}\n", "pay.yml": "db: {pool: 6}\n", "shop-prod.yml": "a: 1\n"})
        plan = dry_run(admin, "rollback", {"to": good, "service": "pay"})
        assert [each["path"] for each in plan["files"]] == ["pay.yml"]
        assert plan["skipped"] == ["pay-prod.yml"]


def test_rollback_takes_write_on_what_it_restores(admin: Admin, incident: str) -> None:
    narrow = {"to": incident, "service": "pay"}
    assert admin.post("rollback", narrow, scope="config:write:pay").status_code == 200
    assert admin.post("rollback", narrow, scope="config:write:pay/prod").status_code == 403
    assert admin.post("rollback", {"to": incident, "all": True}, scope="config:write:pay").status_code == 403
    for name in ("shop.yml", "nope.yml"):  # whether there is such a file is nothing to learn here
        answer = admin.post("rollback", {"to": incident, "files": [name]}, scope="config:write:pay")
        assert answer.status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {"service": "pay"},
        {"to": "main"},
        {"to": "main", "service": "pay", "all": True},
        {"to": "--all", "all": True},
        {"to": "0" * 40, "all": True},
        {"to": "nowhere", "all": True},
        {"to": "main", "files": ["nope.yml"]},
        {"to": "main", "files": ["../x"]},
        {"to": "main", "service": "p/q"},
        {"to": "main", "all": True, "confirm": "yes"},
    ],
)
def test_rollback_that_makes_no_sense_is_refused(admin: Admin, body: dict[str, Any]) -> None:
    assert admin.post("rollback", body).status_code == 400


def test_commit_of_another_branch_is_nothing_to_roll_back_to(admin: Admin) -> None:
    admin.origin.branch("other")
    commit = admin.origin.write({"pay.yml": "a: 1\n"})
    admin.serving.refresh()
    answer = admin.post("rollback", {"to": commit, "all": True})
    assert (answer.status_code, answer.json()["field"]) == (400, "to")


def test_promotion_makes_one_envs_files_anothers_and_deletes_none(admin: Admin) -> None:
    admin.serving.push({"pay-dev.json": '{"extra": 1}\n', "pay-prod.properties": "keep=1\n"})
    body = {"service": "pay", "from": "dev", "to": "prod"}
    plan = dry_run(admin, "promote", body)
    assert plan["files"] == [{"path": "pay-prod.json", "op": "add"}, {"path": "pay-prod.yml", "op": "change"}]
    assert set(targets(plan)) == {"pay/prod"}

    answer = admin.post("promote", {**body, "confirm": plan["id"]})
    assert answer.status_code == 200, answer.text
    prod = admin.serving.config("pay/prod")
    assert (prod["db"]["pool"], prod["debug"], prod["extra"], prod["keep"]) == (2, True, 1, "1")
    assert git(admin.origin.bare, "log", "-1", "--format=%s", "main") == "Promote pay from dev to prod"
    assert dry_run(admin, "promote", body)["files"] == []


def test_promotion_takes_write_there_and_view_here(admin: Admin) -> None:
    body = {"service": "pay", "from": "dev", "to": "prod"}
    assert admin.post("promote", body, scope="config:write:pay/prod").status_code == 403
    assert admin.post("promote", body, scope="config:write:pay/prod config:view:pay/dev").status_code == 200
    assert admin.post("promote", body, scope="config:write:pay/dev config:view:pay").status_code == 403


def test_promotion_of_nothing_or_to_nowhere_is_refused(admin: Admin) -> None:
    for body in (
        {"service": "shop", "from": "dev", "to": "prod"},
        {"service": "pay", "from": "dev", "to": "dev"},
        {"service": "pay", "from": "dev", "to": "nope"},
        {"service": "pay", "from": "dev", "to": "a/b"},
        {"service": "../x", "from": "dev", "to": "prod"},
    ):
        assert admin.post("promote", body).status_code == 400, body


def test_rollback_in_a_freeze_is_refused_unless_overridden(admin: Admin, incident: str) -> None:
    window = "[[window]]\nfrom = 2020-01-01T00:00:00Z\nuntil = 2099-01-01T00:00:00Z\n"
    assert admin.change({"file": ".config-server/freeze.toml", "text": window}).status_code == 200
    body = {"to": incident, "service": "pay"}
    confirmed = {**body, "confirm": dry_run(admin, "rollback", body)["id"]}
    assert admin.post("rollback", confirmed).status_code == 423
    assert admin.post("rollback", {**confirmed, "override": "INC-7"}).status_code == 200
    assert admin.records("config.rollback")[-1]["detail"].endswith("; override: INC-7")
    assert admin.change(by_key("pay.yml", a=1)).status_code == 423


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".config-server/freeze.toml", "[[window]]\nfrom = 1\n"),
        (".config-server/targets.toml", "pay = 1\n"),
        (".config-server/schemas/pay.json", '{"type": 5}\n'),
    ],
)
def test_rollback_brings_no_file_back_that_the_server_could_not_read(admin: Admin, file: str, text: str) -> None:
    bad = admin.serving.push({file: text})
    before = admin.serving.push({file: None})
    for scope in ({"files": [file]}, {"all": True}):
        answer = admin.post("rollback", {"to": bad, **scope})
        assert (answer.status_code, answer.json()["file"]) == (422, file)
    assert admin.origin.pushed() == before
