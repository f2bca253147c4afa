"""Changing configuration through the server: what reaches the origin, what is refused, and what the trail tells."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from app.audit import verify_directory
from devstack.issuer import LocalIssuer
from devstack.origin import git
from tests.changes.conftest import FILES, SETTINGS, Admin, by_key
from tests.serving import BRISK, serving
from tests.support import eventually


def test_change_is_a_commit_at_the_origin_and_installed_when_answered(admin: Admin) -> None:
    before = admin.head
    answer = admin.change(by_key("pay.yml", db__pool=7, db__url="y"), message="More connections\n\nTicket 12")
    body = answer.json()
    assert answer.status_code == 200, answer.text
    assert body["commit"] == admin.origin.pushed() == admin.head
    assert admin.serving.body("pay/prod")["version"] == body["commit"]
    assert admin.origin.read("pay.yml") == "db:\n  pool: 7  # five\n  url: y"
    told = git(admin.origin.bare, "log", "-1", "--format=%an|%ae|%cn|%P|%B", "main")
    assert told == f"ada@example.org|ada@example.org|Config Server|{before}|More connections\n\nTicket 12"
    rev = admin.serving.get("pay/prod").headers["X-Config-Rev"]
    assert body["rev"] == rev
    assert [each["service"] for each in body["plan"]["targets"]] == ["pay", "pay"]


def test_several_files_by_key_whole_and_deleted_are_one_commit(admin: Admin) -> None:
    before = admin.head
    edits = [
        by_key("pay-prod.yml", "db.pool", x=1),
        {"file": "logback.xml", "text": "<new/>\n"},
        {"file": "shop.yml", "delete": True},
        {"file": ".config-server/targets.toml", "text": '[targets]\npay = ["prod"]\n'},
    ]
    assert admin.change(*edits).status_code == 200
    changed = git(admin.origin.bare, "diff", "--name-status", before, "main").split()
    assert changed == ["A", ".config-server/targets.toml", "M", "logback.xml", "M", "pay-prod.yml", "D", "shop.yml"]
    assert admin.serving.config("pay/prod")["x"] == 1


def test_change_tells_the_trail_before_and_after(admin: Admin) -> None:
    answer = admin.change(by_key("pay.yml", "db.url", db__pool=7), message="Why\n\nBecause")
    begun, done = admin.records("config.change")
    assert (begun["action"], done["action"]) == ("config.change.begun", "config.change")
    for record in (begun, done):
        assert record["version"] == answer.json()["commit"]
        assert (record["subject"], record["outcome"], record["target"]) == ("ada@example.org", "allowed", "main")
        assert record["keys"] == ["pay.yml: db.pool", "pay.yml: db.url"]
        assert record["detail"] == "Why"
        assert record["request_id"] == answer.headers["X-Request-ID"]
    assert all(each.intact for each in verify_directory(admin.serving.server.settings.audit_path).values())


def test_without_credentials_to_write_everything_but_plans_is_501(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, FILES, envs=("prod", "dev")) as running:
        admin = Admin(running)
        plan = admin.post("rollback", {"to": admin.head, "all": True}).json()["plan"]
        assert admin.plan(by_key("pay.yml", a=1))["files"]
        confirmed = {"to": admin.head, "all": True, "confirm": plan["id"]}
        for answer in (admin.change(by_key("pay.yml", a=1)), admin.post("rollback", confirmed)):
            assert (answer.status_code, answer.json()["type"]) == (501, "urn:config-server:not-offered")


# Refused


def test_change_that_would_break_a_target_is_refused_whole_and_names_it(admin: Admin) -> None:
    before = admin.origin.pushed()
    answer = admin.change(by_key("application.yml", log="${nope.loop}", nope__loop="${log}"), by_key("pay.yml", a=1))
    body = answer.json()
    assert (answer.status_code, body["type"]) == (422, "urn:config-server:would-break")
    assert body["plan"]["breaks"] == [f"{name}/main" for name in ("pay/dev", "pay/prod", "shop/dev", "shop/prod")]
    assert "pay/prod/main" in body["detail"]
    assert admin.origin.pushed() == before
    assert admin.records("config.change") == []


def test_rejected_push_is_told_in_the_remotes_words_and_leaves_nothing(admin: Admin, tmp_path: Path) -> None:
    before = admin.origin.pushed()
    admin.origin.hook("pre-receive", 'echo "Policy: not on Fridays"; exit 1')
    answer = admin.change(by_key("pay.yml", a=1))
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:config-server:push-rejected")
    assert answer.json()["detail"] == "pre-receive hook declined; Policy: not on Fridays"
    assert admin.origin.pushed() == before == admin.head
    begun, failed = admin.records("config.change")
    assert (begun["version"], failed["outcome"]) == (failed["version"], "failed")
    assert "not on Fridays" in failed["detail"]
    clone = next((tmp_path / "data" / "mirror").glob("clone-*"))
    with pytest.raises(RuntimeError):
        git(clone, "cat-file", "-e", begun["version"])
    assert list((tmp_path / "data" / "intents").iterdir()) == []
    assert list((tmp_path / "data" / "drafts").iterdir()) == []

    admin.origin.hook("pre-receive", None)
    assert admin.change(by_key("pay.yml", a=1)).status_code == 200


@pytest.mark.parametrize(
    ("scope", "file", "status"),
    [
        ("config:write:pay", "pay.yml", 200),
        ("config:write:pay", "pay-prod.yml", 200),
        ("config:write:pay/prod", "pay-prod.yml", 200),
        ("config:write:pay/prod config:write:pay/dev", "pay.yml", 200),
        ("config:write:pay/prod", "pay.yml", 403),
        ("config:write:pay/dev", "pay-prod.yml", 403),
        ("config:write:shop", "pay.yml", 403),
        ("config:write:pay config:write:shop", "application.yml", 403),
        ("config:write:*/prod", "application-prod.yml", 403),
        ("config:write:pay", ".config-server/freeze.toml", 403),
        ("config:write:pay", "pay/logback.xml", 403),
        ("config:write:*/*", "application.yml", 200),
        ("config:view config:read:*/*", "pay.yml", 403),
    ],
)
def test_file_takes_write_on_everybody_that_it_concerns(bystander: Admin, scope: str, file: str, status: int) -> None:
    edit = (
        {"file": file, "text": bystander.serving.new_service() + ": 1\n"}
        if status == 200
        else {"file": file, "text": ""}
    )
    answer = bystander.change(edit, scope=scope)
    assert answer.status_code == status, answer.text


@pytest.fixture(scope="module")
def bystander(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer):  # type: ignore[no-untyped-def]
    with serving(tmp_path_factory.mktemp("bystander"), issuer, FILES, **SETTINGS) as running:
        yield Admin(running)


def test_while_envs_are_unknown_only_a_grant_for_everything_writes(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, FILES, git_write=True) as running:
        admin = Admin(running)
        assert admin.change(by_key("pay-prod.yml", a=1), scope="config:write:pay/prod").status_code == 403
        assert admin.change(by_key("pay-prod.yml", a=1), scope="config:write:*/*").status_code == 200


def test_masked_documents_links_and_folders_that_lead_away_are_refused(admin: Admin) -> None:
    (admin.origin.work / "link.yml").symlink_to("/etc/passwd")
    admin.serving.push({})
    for edit in (
        {"file": "pay.yml", "text": "password: '******'\n"},
        by_key("pay.yml", password="******"),
        {"file": "link.yml", "text": "a: 1\n"},
        {"file": "link.yml/x", "text": "a: 1\n"},
        {"file": "../x.yml", "text": "a: 1\n"},
        {"file": ".github/workflows/x.yml", "text": "a: 1\n"},
        {"file": "pay.yml", "text": FILES["pay.yml"]},
    ):
        answer = admin.change(edit)
        assert (answer.status_code, answer.json()["field"]) == (400, "edits"), answer.text
    assert admin.records("config.change") == []


@pytest.mark.parametrize(
    "body",
    [
        {"message": ""},
        {"message": " \n "},
        {"message": "a\x1b[31mb"},
        {"message": None},
        {"base": "main"},
        {"base": "--all"},
        {"label": "--all"},
        {"override": ""},
        {"edits": []},
        {"edits": "x"},
        {"why": 1},
    ],
)
def test_order_that_is_not_one_is_refused(bystander: Admin, body: dict[str, object]) -> None:
    order = {"base": bystander.head, "message": "m", "edits": [by_key("pay.yml", a=1)]}
    assert bystander.post("changes", {**order, **body}).status_code == 400


def test_only_branches_are_changed(admin: Admin) -> None:
    admin.origin.tag("v1")
    admin.serving.refresh()
    for label in ("v1", admin.head):
        assert admin.change(by_key("pay.yml", a=1), label=label).status_code == 400
    assert admin.change(by_key("pay.yml", a=1), label="nowhere").status_code == 404


def test_other_branch_is_changed_without_touching_the_default_one(admin: Admin) -> None:
    before = admin.head
    admin.origin.branch("feature/x")
    admin.serving.refresh()
    answer = admin.change(by_key("pay.yml", a=1), label="feature/x")
    assert answer.status_code == 200
    assert (admin.origin.pushed("feature/x"), admin.origin.pushed()) == (answer.json()["commit"], before)
    assert admin.serving.config("pay/prod", label="feature/x")["a"] == 1


def test_trail_that_cannot_be_written_stops_the_change_and_nothing_is_pushed(admin: Admin) -> None:
    before = admin.origin.pushed()
    services = admin.serving.server.services
    services.trail.close()
    answer = admin.change(by_key("pay.yml", a=1))
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:config-server:audit-unavailable")
    assert admin.origin.pushed() == before
    services.trail.start()
    assert admin.change(by_key("pay.yml", a=1)).status_code == 200


def test_push_that_was_broken_off_is_told_as_uncertain_and_found_out_later(tmp_path: Path, issuer: LocalIssuer) -> None:
    brisk = replace(BRISK, settle=0.2)
    with serving(tmp_path, issuer, FILES, git_timeout_seconds=1.5, timings=brisk, **SETTINGS) as running:
        admin = Admin(running)
        before = admin.origin.pushed()
        admin.origin.hook("pre-receive", "exec sleep 60")
        answer = admin.change(by_key("pay.yml", a=1))
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:config-server:repository-unavailable")
        assert "may yet arrive" in answer.json()["detail"]
        assert admin.origin.pushed() == before
        assert [each["outcome"] for each in admin.records("config.change")][:2] == ["allowed", "failed"]
        eventually(lambda: admin.serving.refresh() and len(admin.records("config.change")) == 3)
        assert admin.records("config.change")[-1]["detail"].endswith("the branch does not have it")
        assert list((tmp_path / "data" / "intents").iterdir()) == []


# At the same time


def test_file_that_moved_since_base_is_a_conflict_with_a_fresh_plan(admin: Admin) -> None:
    base = admin.head
    admin.serving.push({"pay.yml": "db:\n  pool: 6\n  url: z\n"})
    answer = admin.change(by_key("pay.yml", db__url="mine"), base=base)
    body = answer.json()
    assert (answer.status_code, body["type"]) == (409, "urn:config-server:conflict")
    assert body["plan"]["head"] == admin.head != base
    assert body["plan"]["targets"][0]["changes"][0]["old"] == "z"
    assert admin.change(by_key("pay.yml", db__url="mine"), base=body["plan"]["head"]).status_code == 200


def test_file_that_did_not_move_is_changed_on_the_present_head(admin: Admin) -> None:
    base = admin.head
    theirs = admin.serving.push({"shop.yml": "items: [b]\n", "new.yml": "a: 1\n"})
    answer = admin.change(by_key("pay.yml", db__url="mine"), base=base)
    assert answer.status_code == 200
    assert git(admin.origin.bare, "rev-parse", "main^") == theirs
    assert admin.origin.read("shop.yml") == "items: [b]"


@pytest.mark.parametrize("theirs", ["shop.yml", "pay.yml"])
def test_push_that_nobody_has_fetched_yet_is_met_and_respected(admin: Admin, theirs: str) -> None:
    base = admin.head
    pushed = admin.origin.write({theirs: "theirs: 1\n"})
    answer = admin.change(by_key("pay.yml", mine=1), base=base)
    if theirs == "pay.yml":
        assert answer.status_code == 409
        assert admin.origin.pushed() == pushed
    else:
        assert answer.status_code == 200, answer.text
        assert git(admin.origin.bare, "rev-parse", "main^") == pushed
    assert [each["outcome"] for each in admin.records("config.change")] == (
        ["allowed", "failed"] if theirs == "pay.yml" else ["allowed", "failed", "allowed", "allowed"]
    )


def test_base_that_was_rewritten_away_is_a_conflict(admin: Admin) -> None:
    first = admin.head
    base = admin.serving.push({"shop.yml": "items: [c]\n"})
    admin.origin.force(first)
    other = admin.origin.write({"other.yml": "a: 1\n"})
    eventually(lambda: admin.serving.refresh() and admin.head == other)
    assert admin.change(by_key("pay.yml", a=1), base=base).status_code == 409
    assert admin.change(by_key("pay.yml", a=1), base="1" * 40).status_code == 409


@pytest.mark.slow
def test_of_two_admins_who_change_the_same_key_one_is_told_of_the_other(admin: Admin) -> None:
    base = admin.head
    answers: dict[int, httpx.Response] = {}
    ready = threading.Barrier(4)

    def change(number: int) -> None:
        ready.wait(timeout=60)
        answers[number] = admin.change(by_key("pay.yml", db__pool=100 + number), base=base)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers.values()) == [200, 409, 409, 409]
    winner = next(number for number, answer in answers.items() if answer.status_code == 200)
    assert f"pool: {100 + winner} " in admin.origin.read("pay.yml")
    assert git(admin.origin.bare, "rev-list", "--count", f"{base}..main") == "1"
    done = [each for each in admin.records("config.change") if each["action"] == "config.change"]
    assert [each["version"] for each in done if each["outcome"] == "allowed"] == [answers[winner].json()["commit"]]


@pytest.mark.slow
def test_admins_who_change_different_files_at_once_all_get_through(admin: Admin) -> None:
    base = admin.head
    answers: list[int] = []
    names = ("pay.yml", "pay-prod.yml", "shop.yml")

    def change(name: str) -> None:
        answers.append(admin.change(by_key(name, mine=name), base=base).status_code)

    threads = [threading.Thread(target=change, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200, 200, 200]
    assert all(f"mine: {name}" in admin.origin.read(name) for name in names)


# Frozen

FREEZE = """\
[[window]]
from = 2020-01-01T00:00:00Z
until = 2099-01-01T00:00:00Z
envs = ["prod"]
reason = "the year-end close"

[[window]]
from = 2020-01-01T00:00:00Z
until = 2020-01-02T00:00:00Z
"""


def test_freeze_stops_changes_of_its_envs_unless_overridden_with_a_reason(admin: Admin) -> None:
    admin.serving.push({".config-server/freeze.toml": FREEZE})
    for edit in (by_key("pay-prod.yml", a=1), by_key("pay.yml", a=1), by_key("application.yml", a=1)):
        answer = admin.change(edit)
        assert (answer.status_code, answer.json()["type"]) == (423, "urn:config-server:frozen")
        assert "until 2099-01-01T00:00:00+00:00: the year-end close" in answer.json()["detail"]
    assert admin.change({"file": ".config-server/freeze.toml", "delete": True}).status_code == 423
    assert admin.change(by_key("pay-dev.yml", a=1)).status_code == 200
    assert admin.plan(by_key("pay-prod.yml", a=1))["files"]

    assert admin.change(by_key("pay-prod.yml", a=1), override="INC-7: payments are down").status_code == 200
    assert admin.records("config.change")[-1]["detail"] == "a change; override: INC-7: payments are down"


def test_freeze_that_cannot_be_read_freezes_everything_and_is_not_accepted(admin: Admin) -> None:
    bad = "[[window]]\nfrom = 2020-01-01\n"
    answer = admin.change({"file": ".config-server/freeze.toml", "text": bad})
    assert (answer.status_code, answer.json()["file"]) == (422, ".config-server/freeze.toml")
    admin.serving.push({".config-server/freeze.toml": bad})
    assert admin.change(by_key("pay-dev.yml", a=1)).status_code == 423
    mended = admin.change({"file": ".config-server/freeze.toml", "text": ""}, override="it was broken")
    assert mended.status_code == 200
    assert admin.change(by_key("pay-dev.yml", a=1)).status_code == 200
