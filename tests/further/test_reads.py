"""What is read from further repositories over /v1: which one answers, what it says, and what a push to it does."""

from __future__ import annotations

import hashlib
import hmac
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.model import Target
from tests.further.conftest import Estate
from tests.serving import VIEW_ALL
from tests.support import eventually


def test_a_service_is_read_from_the_repository_that_its_name_matches_and_others_from_the_main_one(
    estate: Estate,
) -> None:
    serving = estate.serving
    body = serving.body("pay/prod", explain="true")
    assert body["config"] == {"n": 2, "file": "payments", "log": "payments"}
    assert (body["label"], body["version"]) == ("main", estate.origins["payments"].head)
    assert body["explain"]["n"]["origin"] == "payments:pay-prod.yml:1:4"
    assert serving.config("payroll/dev") == {"n": 3, "log": "payments"}
    assert serving.config("shop/prod") == {"n": 1, "log": "main", "only": "main"}
    assert serving.body("shop/prod")["version"] == serving.origin.head


def test_of_several_that_match_the_first_of_the_file_is_the_strongest(estate: Estate) -> None:
    body = estate.serving.body("both/prod", explain="true")
    team, shared = (estate.origins[name] for name in ("team", "shared"))
    assert body["config"] == {
        "own": "team",  # though the other one says so for this env
        "list": [1],
        "both": "team",
        "deep": {"a": 1, "b": 2},
        "log": "shared",
    }
    assert body["version"] == body["head"] == f"{team.head},{shared.head}"
    own = body["explain"]["own"]
    assert own == {"origin": "team:config/both.yml:1:6", "overridden": ["shared:both-prod.yml:1:6"]}
    assert estate.serving.body("both/prod", label="main") == estate.serving.body("both/prod")


def test_a_push_to_one_of_several_repositories_is_one_change_of_what_is_read_from_it(estate: Estate) -> None:
    serving, shared = estate.serving, estate.origins["shared"]
    answers = {name: serving.get(name) for name in ("both/live", "pay/dev", "shop/dev")}

    def waited(name: str) -> tuple[int, str]:
        held = answers[name]
        headers = {"If-None-Match": held.headers["ETag"]}
        answer = serving.get(name, headers=headers, wait=50 if name == "both/live" else 1)
        return answer.status_code, answer.headers["X-Config-Rev"]

    with ThreadPoolExecutor(3) as pool:
        waiting = {name: pool.submit(waited, name) for name in answers}
        commit = shared.write({"both-live.yml": "fresh: 1\n"})
        serving.refresh()
        told = {name: each.result() for name, each in waiting.items()}
    assert {name: status for name, (status, _) in told.items()} == {"both/live": 200, "pay/dev": 304, "shop/dev": 304}
    rev = answers["both/live"].headers["X-Config-Rev"]
    assert told["both/live"][1].rpartition(".")[0] == rev.rpartition(".")[0]  # the same epoch
    assert int(told["both/live"][1].rpartition(".")[2]) > int(rev.rpartition(".")[2])
    assert serving.body("both/live")["version"].endswith(commit)


def test_labels_tags_and_commits_are_those_of_the_repository_that_answers(estate: Estate) -> None:
    serving, payments = estate.serving, estate.origins["payments"]
    first = payments.head
    payments.tag("v1")
    payments.branch("next")
    payments.write({"pay.yml": "n: 9\n"})
    payments.branch("main")
    estate.push("payments", {"payroll.yml": "n: 4\n"})
    assert serving.config("pay/dev", label="next")["n"] == 9
    assert serving.config("payroll/dev", label="v1")["n"] == serving.config("payroll/dev", label=first)["n"] == 3
    diff = serving.ask("/v1/diff/payroll/dev", params={"from": first, "to": "main"}).json()
    assert [(each["key"], each["from"], each["to"]) for each in diff["changes"]] == [("n", 3, 4)]
    assert (diff["from"]["label"], diff["to"]["label"]) == (first, "main")
    assert serving.get("pay/dev", label=serving.origin.head).status_code == 404  # of the main repository, and no other
    assert serving.get("shop/dev", label=first).status_code == 404
    assert serving.get("shop/dev", label="next").status_code == 404
    assert serving.get("both/dev", label="next").status_code == 404


def test_the_history_of_a_service_is_that_of_its_repository(estate: Estate) -> None:
    serving = estate.serving
    commit = estate.push("payments", {"payhist.yml": "n: 1\n"})
    last = estate.push("payments", {"payhist.yml": "n: 2\n"})
    revisions = serving.revisions("payhist/dev", most=2)
    assert [(each["commit"], each["keys"]) for each in revisions] == [(last, ["n"]), (commit, ["n"])]
    page = serving.ask("/v1/history/payhist/dev", params={"limit": 2}).json()
    assert (page["label"], page["head"]) == ("main", last)
    answer = serving.ask("/v1/history/both/dev")
    assert answer.status_code == 501
    assert "several repositories" in answer.json()["detail"]


def test_a_bad_commit_holds_back_the_targets_of_its_repository_and_only_in_that_repository(estate: Estate) -> None:
    serving, origins = estate.serving, estate.origins
    good = serving.body("both/qa")
    estate.push("team", {"config/both.yml": "own: [broken\n"})
    held = serving.body("both/qa")
    assert held["config"] == good["config"]
    assert held["stale"][0]["reason"] == "invalid"
    assert held["stale"][0]["detail"].startswith("team:config/both.yml:")
    assert held["stale"][0]["commit"] == f"{origins['team'].head},{origins['shared'].head}"
    estate.push("shared", {"both-qa.yml": "more: 1\n"})
    moved = serving.body("both/qa")
    assert moved["config"] == {**good["config"], "more": 1}  # the other repository moves on
    assert moved["version"] == f"{good['version'].partition(',')[0]},{origins['shared'].head}"
    assert "stale" not in serving.body("shop/qa")
    problems = serving.ask("/v1/admin/problems", token=serving.token(VIEW_ALL)).json()["problems"]
    (told,) = [each for each in problems if (each.get("service"), each.get("env")) == ("both", "qa")]
    assert (told["kind"], told["label"], told["file"]) == ("held_back", "main", "team:config/both.yml")
    estate.push("team", {"config/both.yml": "own: team\nlist: [1]\nboth: team\n"})
    assert "stale" not in serving.body("both/qa")


def test_what_is_wrong_is_found_by_a_topic_as_well_as_by_the_target(estate: Estate) -> None:
    """A topic, which is all that is known of what another worker's clients follow, does not name repositories."""
    services = estate.serving.server.services
    estate.push("payments", {"paybad.yml": "n: 1\n"})
    estate.push("payments", {"paybad.yml": "n: [\n"})
    (found,) = services.operating.problems.among(services.engine.world, [Target("paybad", ("prod",), "main")])
    assert (found.kind, found.file, found.as_json()["label"]) == ("held_back", "payments:paybad.yml", "main")


def test_a_repository_that_is_away_fails_its_own_targets_alone(estate: Estate) -> None:
    serving = estate.serving
    for query in ("", "?label=main"):
        answer = serving.ask(f"/v1/config/gone-service/prod{query}")
        assert (answer.status_code, answer.headers.get("Retry-After") is not None) == (503, True)
        assert str(estate.file.parent) not in answer.text
    assert serving.get("lacking/prod").status_code == 503  # its default label may come: 404 would say that it is not
    assert serving.config("lacking/prod", label="main") == {"n": 1}
    answer = serving.get("shop/prod")
    assert answer.status_code == 200
    assert "X-Config-Stale" not in answer.headers
    view = serving.token(VIEW_ALL)

    def is_stale() -> dict[str, bool]:
        repositories = serving.ask("/v1/admin/status", token=view).json()["repositories"]
        return {name: bool(each["stale"]) for name, each in repositories.items()}

    expected = {"payments": False, "team": False, "shared": False, "gone": True, "lacking": False}
    eventually(lambda: is_stale() == expected)  # that one is away may be heard of after what the others brought
    status = serving.ask("/v1/admin/status", token=view).json()
    assert status["repositories"]["payments"]["head"] == estate.origins["payments"].head
    problems = serving.ask("/v1/admin/problems", token=view).json()["problems"]
    assert [(each["detail"], each["reason"]) for each in problems if each["kind"] == "repository"] == [
        ("gone", "git"),
        ("lacking: there is no trunk", "missing"),
    ]
    own = serving.token("config:read", service="pay")
    assert serving.ask("/v1/admin/status", token=own).json()["repositories"] == {}
    assert "gone" not in serving.ask("/v1/admin/problems", token=own).text


def test_schemas_and_search_paths_of_a_further_repository_hold_for_what_is_read_from_it(estate: Estate) -> None:
    serving = estate.serving
    schema = {"type": "object", "properties": {"n": {"maximum": 5}}}
    estate.push("payments", {".config-server/schemas/paylimit.json": json.dumps(schema), "paylimit.yml": "n: 6\n"})
    answer = serving.get("paylimit/prod")
    assert answer.status_code == 422
    assert answer.json()["file"] == "payments:paylimit.yml"
    estate.push("payments", {"paylimit.yml": "n: 5\n"})
    assert serving.config("paylimit/prod")["n"] == 5
    assert serving.config("both/dev")["own"] == "team"  # from config/


def test_secrets_are_filled_in_on_the_default_branch_of_the_repository_alone(estate: Estate) -> None:
    serving, payments = estate.serving, estate.origins["payments"]
    payments.branch("unseen")
    payments.write({"paysecret.yml": "s: ${vault:kv/services/paysecret/prod/x#k}\n"})
    payments.branch("main")
    serving.refresh()
    body = serving.body("paysecret/prod", label="unseen")
    assert body["config"]["s"] == "${vault:kv/services/paysecret/prod/x#k}"
    assert body["unresolved"] == ["s"]
    payments.write({"paysecret.yml": "s: ${vault:kv/services/paysecret/prod/x#k}\n"})
    serving.refresh()
    assert serving.get("paysecret/prod").status_code == 422  # here it is to be resolved, and there is no Vault


def test_plain_files_come_from_the_repository_that_answers(estate: Estate) -> None:
    serving = estate.serving
    assert serving.get("pay/dev/notes.txt").text == "n is 1\n"
    assert serving.get("both/dev/motd.txt").text == "of the team\n"
    assert serving.get("shop/dev/notes.txt").status_code == 404
    for path in (
        "other.json",
        "payroll.yml",
        ".config-server/schemas/x.json",
        "payments:notes.txt",
        "team:config/both.yml",
    ):
        assert serving.get(f"pay/dev/{path}").status_code in {400, 404}, path


@pytest.mark.parametrize("label", ["payments:main", "payments:main^shared:main", "shared:main", ":main", "main^main"])
def test_the_marks_of_repositories_are_no_part_of_a_callers_label(estate: Estate, label: str) -> None:
    assert estate.serving.get("pay/dev", label=label).status_code == 400
    assert estate.serving.ask(f"/v1/history/pay/dev?label={label}").status_code == 400


def test_permissions_are_those_of_the_service_wherever_it_is_read_from(estate: Estate) -> None:
    serving = estate.serving
    own = serving.token("config:read", service="pay")
    assert serving.get("pay/dev", token=own).status_code == 200
    for other in ("payroll/dev", "both/dev", "shop/dev", "gone-service/dev"):
        assert serving.get(other, token=own).status_code == 403


def test_nothing_is_written_to_a_further_repository(estate: Estate) -> None:
    serving = estate.serving
    token = serving.token("config:write:*/* config:view:*/*")
    head = serving.origin.head
    for path, body in {
        "rollback": {"service": "pay", "to": head},
        "promote": {"service": "pay", "from": "dev", "to": "prod"},
    }.items():
        answer = serving.ask(f"/v1/admin/{path}", token=token, method="POST", json=body)
        assert answer.status_code == 501, answer.text
        assert "payments" in answer.json()["detail"]
    edits = [{"file": "pay.yml", "set": {"n": 3}}]
    plan = serving.ask("/v1/admin/plan", token=token, method="POST", json={"edits": edits}).json()
    assert plan["targets"] == []  # it is nobody's configuration


def test_a_webhook_of_a_further_repository_has_it_fetched(estate: Estate) -> None:
    commit = estate.origins["payments"].write({"payhook.yml": "n: 1\n"})
    body = json.dumps({"ref": "refs/heads/main", "after": commit}).encode()
    signature = hmac.new(b"hook-secret", body, hashlib.sha256).hexdigest()
    answer = estate.serving.ask(
        "/hooks/git", token="", method="POST", content=body, headers={"X-Hub-Signature-256": f"sha256={signature}"}
    )
    assert answer.status_code == 202
    eventually(lambda: estate.serving.get("payhook/dev").json().get("config", {}).get("n") == 1)


def test_a_forced_push_to_a_further_repository_is_followed(estate: Estate) -> None:
    serving, shared = estate.serving, estate.origins["shared"]
    before = shared.head
    estate.push("shared", {"both-force.yml": "n: 1\n"})
    assert serving.config("both/force")["n"] == 1
    shared.force(before)
    serving.refresh()
    eventually(lambda: "n" not in serving.config("both/force"))


def test_the_age_of_each_repositorys_last_fetch_is_measured(estate: Estate) -> None:
    text = estate.serving.ask("/metrics", token=estate.serving.token(VIEW_ALL + " config:view")).text
    for name in ("payments", "team", "shared"):
        assert f'config_server_git_further_last_success_timestamp_seconds{{repository="{name}"}}' in text
    assert 'repository="gone"' not in text
