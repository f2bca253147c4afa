"""Further repositories for the clients of Spring Cloud Config: the same repositories, in their words."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from tests.further.conftest import Estate
from tests.serving import READ_ALL


def environment(estate: Estate, path: str) -> dict[str, Any]:
    answer = estate.serving.ask(f"/spring/{path}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def sources(estate: Estate, path: str) -> list[tuple[str, dict[str, Any]]]:
    return [(each["name"], each["source"]) for each in environment(estate, path)["propertySources"]]


def test_a_repository_that_matches_answers_in_the_place_of_the_default_one(estate: Estate) -> None:
    uri = "origin.git"  # of a folder here its name alone
    assert sources(estate, "pay/prod")[:2] == [
        (f"{uri}/pay-prod.yml", {"n": 2}),
        (f"{uri}/pay.yml", {"n": 1, "file": "payments"}),
    ]
    assert ("only", "main") not in [item for _, source in sources(estate, "pay/prod") for item in source.items()]
    assert sources(estate, "shop/prod")[0] == (f"{uri}/shop.yml", {"n": 1})
    body = environment(estate, "pay/prod/main")
    assert (body["label"], body["version"]) == ("main", estate.origins["payments"].head)


def test_of_several_the_sources_of_the_first_come_before_those_of_the_next(estate: Estate) -> None:
    found = sources(estate, "both/prod")
    assert [source for _, source in found] == [
        {"deep.a": 1},
        {"own": "team", "list[0]": 1, "both": "team"},
        {"own": "shared in prod", "list[0]": 2, "list[1]": 3},
        {"log": "shared", "both": "shared", "deep.b": 2},
    ]
    names = ["config/both-prod.yml", "config/both.yml", "both-prod.yml", "application.yml"]
    assert [name for name, _ in found] == [f"origin.git/{name}" for name in names]
    heads = [estate.origins[name].head for name in ("team", "shared")]
    assert environment(estate, "both/prod")["version"] == ",".join(heads)


def test_patterns_may_name_profiles_and_of_several_profiles_one_is_enough(estate: Estate) -> None:
    estate.push("team", {"config/solo.yml": "of: team\n"})
    assert sources(estate, "solo/dev") == [("origin.git/config/solo.yml", {"of": "team"})]
    assert sources(estate, "solo/eu,dev2") == [("origin.git/config/solo.yml", {"of": "team"})]
    assert sources(estate, "solo/prod") == [("origin.git/application.yml", {"log": "main", "only": "main"})]


def test_flat_documents_and_plain_files_are_read_from_them(estate: Estate) -> None:
    serving = estate.serving
    assert serving.ask("/spring/both-dev.properties").text.splitlines() == [
        "both: team",
        "deep.b: 2",
        "list[0]: 1",
        "log: shared",
        "own: team",
    ]
    assert serving.ask("/spring/pay/dev/main/notes.txt").text == "n is 1\n"
    assert serving.ask("/spring/both/dev/main/both/motd.txt").text == "of the team\n"
    assert serving.ask("/spring/pay/dev/main/other.json").status_code == 404
    assert serving.ask("/spring/pay/dev/main/payroll.yml").status_code == 404


def test_documents_of_one_file_are_named_with_the_url_of_their_repository(estate: Estate) -> None:
    estate.push("payments", {"paymulti.yml": "a: 1\n---\nb: 2\n"})
    first = sources(estate, "paymulti/dev")[:2]
    assert first == [
        ("origin.git/Config resource 'paymulti.yml' (document #1)", {"b": 2}),
        ("origin.git/Config resource 'paymulti.yml' (document #0)", {"a": 1}),
    ]


def test_what_is_missing_and_what_is_away_are_told_apart(estate: Estate) -> None:
    serving = estate.serving
    assert serving.ask("/spring/pay/dev/no-such-label").status_code == 404
    assert serving.ask("/spring/both/dev/no-such-label").status_code == 404
    assert serving.ask("/spring/gone-x/dev").status_code == 503
    assert serving.ask("/spring/gone-x/dev/main").status_code == 503
    assert serving.ask("/spring/pay/dev/payments:main").status_code == 400
    own = serving.token(READ_ALL.replace("*/*", "shop/*"))
    assert serving.ask("/spring/pay/dev", token=own).status_code == 403


def test_monitor_has_every_repository_fetched(estate: Estate) -> None:
    commit = estate.origins["payments"].write({"paymon.yml": "n: 1\n"})
    body = json.dumps({"path": "paymon.yml"}).encode()
    signature = hmac.new(b"hook-secret", body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={signature}", "Content-Type": "application/json"}
    answer = estate.serving.ask("/spring/monitor", token="", method="POST", content=body, headers=headers)
    assert answer.json() == ["paymon"]
    estate.serving.refresh()
    assert environment(estate, "paymon/dev")["version"] == commit
