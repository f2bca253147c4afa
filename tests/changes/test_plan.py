"""What a change would do: to whom, per key, and whether they could still be served. Nothing is changed by asking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.origin import git
from tests.blueprints.test_streams import following
from tests.changes.conftest import FILES, SETTINGS, Admin, by_key
from tests.serving import serving
from tests.support import eventually


def targets(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{each['service']}/{each['env']}": each for each in plan["targets"]}


@pytest.fixture(scope="module")
def looker(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer, bao: Bao) -> Iterator[Admin]:
    """For tests that only plan: nothing they do stays."""
    secret = {"pay-prod.yml": "db:\n  pool: 9\npassword: ${vault:kv/services/pay/prod/db#password}\n"}
    bao.put("services/pay/prod/db", {"password": "hunter2"})
    directory = tmp_path_factory.mktemp("planning")
    with serving(directory, issuer, {**FILES, **secret}, vault=bao, **SETTINGS) as running:
        yield Admin(running)


def test_every_target_that_would_differ_is_told_per_key_with_origins(looker: Admin) -> None:
    plan = looker.plan(by_key("pay.yml", "db.url", db__pool=6, db__new="v"))
    assert set(targets(plan)) == {"pay/prod", "pay/dev"}  # pool is overridden in both, so it is in neither diff
    for name in ("pay/prod", "pay/dev"):
        assert targets(plan)[name] == {
            "service": "pay",
            "env": name.partition("/")[2],
            "verdict": "ok",
            "instances": 0,
            "changes": [
                {"key": "db.new", "op": "add", "new": "v", "new_origin": "pay.yml:3:8"},
                {"key": "db.url", "op": "remove", "old": "x", "old_origin": "pay.yml:3:8"},
            ],
        }
    assert plan["files"] == [{"path": "pay.yml", "op": "change"}]
    assert (plan["breaks"], plan["hidden"], plan["head"]) == ([], 0, looker.head)


def test_shared_file_touches_all_who_see_it_and_nobody_else(looker: Admin) -> None:
    plan = looker.plan(by_key("application-prod.yml", region="us"))
    assert set(targets(plan)) == {"pay/prod", "shop/prod"}
    assert set(targets(looker.plan(by_key("application.yml", log="debug")))) == {
        "pay/prod", "pay/dev", "shop/prod", "shop/dev",
    }  # fmt: skip
    assert looker.plan({"file": "application.yml", "text": "# moved\n\nlog: info\n"})["targets"] == []


def test_new_service_is_planned_too(looker: Admin) -> None:
    plan = looker.plan({"file": "fresh.yml", "text": "a: 1\n"})
    assert plan["files"] == [{"path": "fresh.yml", "op": "add"}]
    assert set(targets(plan)) == {"fresh/prod", "fresh/dev"}


def test_planning_changes_nothing(looker: Admin) -> None:
    before = (looker.head, git(looker.origin.bare, "for-each-ref"), looker.serving.body("pay/prod")["etag"])
    first, second = (looker.plan(by_key("pay.yml", db__pool=6)) for _ in range(2))
    assert (looker.head, git(looker.origin.bare, "for-each-ref"), looker.serving.body("pay/prod")["etag"]) == before
    assert first["id"] == second["id"]
    assert first["id"] != looker.plan(by_key("pay.yml", db__pool=7))["id"]


def test_what_would_break_is_named_with_file_line_and_reason(looker: Admin) -> None:
    plan = looker.plan(by_key("application.yml", log="${nope.loop}", nope__loop="${log}"))
    assert plan["breaks"] == [f"{name}/main" for name in ("pay/dev", "pay/prod", "shop/dev", "shop/prod")]
    problem = targets(plan)["pay/prod"]["problem"]
    assert targets(plan)["pay/prod"]["verdict"] == "breaks"
    assert (problem["type"], problem["file"]) == ("bad-configuration", "application.yml")
    assert problem["line"] in (1, 2)


def test_file_that_would_not_parse_is_refused_at_once(looker: Admin) -> None:
    answer = looker.post("plan", {"edits": [{"file": "pay.yml", "text": "a: [\n"}]})
    assert (answer.status_code, answer.json()["file"], answer.json()["line"]) == (422, "pay.yml", 2)


@pytest.mark.parametrize("text", ['{\n"type": 5}', "[]", '{"pattern": "(?=x)"}', '{"$ref": "http://elsewhere/x"}'])
def test_schema_that_could_not_be_applied_is_refused_at_once(looker: Admin, text: str) -> None:
    file = ".config-server/schemas/pay.json"
    answer = looker.post("plan", {"edits": [{"file": file, "text": text}]})
    assert (answer.status_code, answer.json()["file"]) == (422, file), answer.text


def test_secrets_are_masked_and_forbidden_references_are_told(looker: Admin) -> None:
    forbidden = "${vault:kv/services/shop/prod/db#password}"
    plan = looker.plan(by_key("pay-prod.yml", password=forbidden, other="${vault:kv/services/pay/prod/db#password}"))
    told = targets(plan)["pay/prod"]
    assert {each["key"]: (each.get("old"), each["new"]) for each in told["changes"]} == {
        "password": ("******", "******"),
        "other": (None, "******"),
    }
    assert (told["verdict"], told["denied"], told["problem"]["type"]) == ("breaks", ["password"], "secret-refused")
    assert "hunter2" not in str(plan)
    assert "vault:" not in str(plan)


def test_plan_shows_what_the_caller_may_see_and_counts_the_rest(looker: Admin) -> None:
    body = {"edits": [by_key("application.yml", log="debug"), by_key("pay.yml", db__url="y")]}
    plan = looker.post("plan", body, scope="config:view:pay/prod").json()
    assert set(targets(plan)) == {"pay/prod"}
    assert plan["files"] == []
    assert plan["hidden"] == 3 + 2
    everything = looker.post("plan", body, scope="config:view:pay").json()
    assert [each["path"] for each in everything["files"]] == ["pay.yml"]


@pytest.mark.parametrize(("scope", "status"), [("config:read:*/*", 403), ("config:view:shop", 200), ("openid", 403)])
def test_plan_takes_view_or_write(looker: Admin, scope: str, status: int) -> None:
    assert looker.post("plan", {"edits": [by_key("shop.yml", a=1)]}, scope=scope).status_code == status


@pytest.mark.parametrize(
    ("scope", "file", "status"),
    [
        ("config:view:shop", "pay.yml", 403),
        ("config:view:shop", "pay-prod.yml", 403),
        ("config:view:pay/dev", "pay-prod.yml", 403),
        ("config:view:pay/dev", "application-prod.yml", 403),
        ("config:view:pay/dev", "application.yml", 200),
        ("config:view:*/dev", "shop.yml", 200),
        ("config:view:sh*", "application-prod.yml", 200),
        ("config:view:pay config:view:shop", ".config-server/schemas/pay.yml", 403),
        ("config:view:pay", "logback.yml", 403),
        ("config:view", ".config-server/schemas/pay.yml", 200),
    ],
)
def test_edit_is_planned_by_whom_it_may_be_shown_to(looker: Admin, scope: str, file: str, status: int) -> None:
    answer = looker.post("plan", {"edits": [{"file": file, "text": "planned: 1\n"}]}, scope=scope)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("guess", ["a", "wrong"])
def test_number_of_what_is_hidden_tells_nothing_of_its_values(admin: Admin, guess: str) -> None:
    admin.serving.push({"application.yml": "log: info\nmode: a\n", "shop.yml": "own: a\nitems: [a]\n"})
    body = {"edits": [by_key("application.yml", mode="${own:" + guess + "}")]}  # what it is to shop, only shop knows
    plan = admin.post("plan", body, scope="config:view:pay").json()
    assert plan["hidden"] == 2 + 1
    body = {"edits": [by_key("application.yml", items=[guess])]}
    assert admin.post("plan", body, scope="config:view:pay").json()["hidden"] == 2 + 1


def test_connected_instances_are_counted_for_each_target(looker: Admin) -> None:
    site = looker.serving
    with following(site, "topic=pay/prod&topic=pay/dev"), following(site, "topic=pay/prod"):
        eventually(lambda: looker.plan(by_key("pay.yml", db__url="y"))["instances"] == 3)
        plan = looker.plan(by_key("pay.yml", db__url="y"))
    assert {name: each["instances"] for name, each in targets(plan).items()} == {"pay/prod": 2, "pay/dev": 1}


def test_branch_and_commit_can_be_planned(admin: Admin) -> None:
    admin.origin.branch("feature")
    commit = admin.origin.write({"pay-dev.yml": "db: {pool: 3}\n", "link.yml": "x: 1\n", "shop.yml": None})
    admin.origin.branch("main")
    admin.serving.refresh()
    for name in ("feature", commit):
        plan = admin.plan(commit=name)
        assert plan["files"] == [
            {"path": "link.yml", "op": "add"},
            {"path": "pay-dev.yml", "op": "change"},
            {"path": "shop.yml", "op": "delete"},
        ]
        assert "pay/dev" in targets(plan)
    assert admin.post("plan", {"commit": "nowhere"}).status_code == 400
    assert admin.post("plan", {"commit": "0" * 40}).status_code == 400
    assert admin.post("plan", {"commit": "main", "edits": [by_key("pay.yml", a=1)]}).status_code == 400


def test_list_of_targets_in_the_repository_is_what_is_planned(admin: Admin) -> None:
    admin.serving.push({".config-server/targets.toml": '[targets]\npay = ["prod"]\nother = ["dev"]\n'})
    assert set(targets(admin.plan(by_key("application.yml", log="x")))) == {"pay/prod", "other/dev"}
    bad = admin.post("plan", {"edits": [{"file": ".config-server/targets.toml", "text": "pay = 1\n"}]})
    assert (bad.status_code, bad.json()["file"]) == (422, ".config-server/targets.toml")


def test_target_that_is_broken_already_does_not_stand_in_the_way(admin: Admin) -> None:
    admin.serving.push({"pay-dev.yml": "db: [\n"})
    plan = admin.plan(by_key("pay.yml", db__url="y"))
    assert set(targets(plan)) == {"pay/prod"}
    plan = admin.plan({"file": "pay-dev.yml", "text": "db: {pool: 1}\n"})
    assert targets(plan)["pay/dev"]["verdict"] == "mended"


def test_large_body_and_nonsense_are_refused(looker: Admin, tmp_path: Path) -> None:
    edit = {"file": "x.txt", "text": "x" * (9 << 20)}
    assert looker.post("plan", {"edits": [edit]}).status_code == 413
    for edits in ([], [{"file": "x"}], [{"file": "x.yml", "set": {"a": 1}, "text": "b"}], [{"set": {"a": 1}}],
                  [{"file": "x.yml", "set": {"a..b": 1}}], [{"file": "x.yml", "set": {"a": 1}, "why": 1}],
                  [{"file": "x.yml", "set": {"a": 1}}, {"file": "x.yml", "unset": ["b"]}],
                  [{"file": "x.txt", "text": "1"}, {"file": "x.txt/y", "text": "1"}],
                  [{"file": "x.yml", "set": {"a.b": 1, 'a["b"]': 2}}],
                  [{"file": "../x", "text": "1"}], [{"file": "new.txt", "delete": True}]):  # fmt: skip
        assert looker.post("plan", {"edits": edits}).status_code == 400, edits
