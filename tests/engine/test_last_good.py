"""A bad commit never takes a good configuration away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devstack.issuer import LocalIssuer
from tests.serving import Serving, serving, serving_origin
from tests.support import eventually

BAD: list[tuple[str, str, int | None, str]] = [
    ("broken.yml", "a: 1\nb: [\n", 3, "broken"),
    ("broken.yml", "a: 1\na: 2\n", 2, "duplicate"),
    ("broken.yml", "a: &x [1]\nb: " + "[" * 70 + "]" * 70 + "\n", 2, "deep"),
    ("broken.json", '{"a": NaN}', 1, "number"),
    ("broken.toml", "a = \n", 1, "broken"),
    ("broken.properties", "a=${b}\nb=${a}\n", None, "loop"),
    ("broken.yml", "a: ${vault:kv/../x#k}\n", 1, "reference"),
]


@pytest.mark.parametrize(("name", "text", "line", "_why"), BAD, ids=[why for *_, why in BAD])
def test_a_bad_file_keeps_the_last_good_configuration_and_says_why(
    bench: Serving, name: str, text: str, line: int | None, _why: str
) -> None:
    service = bench.new_service()
    file = name.replace("broken", service)
    good = bench.push({f"{service}.yml": "n: 1\n"})
    bad = bench.push({f"{service}.yml": None, file: text} if file != f"{service}.yml" else {file: text})

    answer = bench.get(f"{service}/prod")
    body = answer.json()

    assert (answer.status_code, body["config"]["n"]) == (200, 1)
    assert (body["version"], body["head"]) == (good, bad)
    (stale,) = body["stale"]
    assert (stale["reason"], stale["commit"]) == ("invalid", bad)
    assert stale["detail"].startswith(file)
    assert line is None or f"{file}:{line}" in stale["detail"]
    assert f'invalid;since="{stale["since"]}";commit="{bad}"' in answer.headers["X-Config-Stale"]
    assert bench.get(f"{service}/prod", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


def test_other_targets_move_on_and_the_next_good_commit_mends_it(bench: Serving) -> None:
    service, other = bench.new_service(), bench.new_service()
    bench.push({f"{service}.yml": "n: 1\n", f"{other}.yml": "n: 1\n"})
    bench.config(f"{service}/prod")
    bench.push({f"{service}.yml": "n: [\n", f"{other}.yml": "n: 2\n"})

    assert bench.config(f"{service}/prod")["n"] == 1
    assert bench.config(f"{other}/prod")["n"] == 2
    assert "stale" not in bench.body(f"{other}/prod")
    report = bench.ask("/health").json()
    assert report["ready"] is True
    assert report["parts"]["targets"]["status"] == "degraded"

    bench.push({f"{service}.yml": "n: 3\n"})
    body = bench.body(f"{service}/prod")
    assert (body["config"]["n"], "stale" in body) == (3, False)


def test_several_bad_commits_in_a_row_are_held_back_since_the_first(bench: Serving) -> None:
    service = bench.new_service()
    good = bench.push({f"{service}.yml": "n: 1\n"})
    bench.push({f"{service}.yml": "n: [\n"})
    first = bench.body(f"{service}/prod")["stale"][0]
    last = bench.push({f"{service}.yml": "n: {\n"})

    body = bench.body(f"{service}/prod")

    assert (body["version"], body["head"]) == (good, last)
    assert (body["stale"][0]["since"], body["stale"][0]["commit"]) == (first["since"], last)


def test_a_label_forced_back_to_a_bad_commit_serves_the_newest_good_one_as_every_host_would(
    tmp_path: Path, issuer: LocalIssuer
) -> None:
    """Not what this worker served when the commit was the head before: that is no function of what was announced."""
    with serving(tmp_path, issuer, {"pay.yml": "n: 1\n"}) as running:
        bad = running.push({"pay.yml": "n: [\n"})
        assert running.config("pay/prod") == {"n": 1}
        good = running.push({"pay.yml": "n: 2\n"})
        assert running.config("pay/prod") == {"n": 2}
        running.origin.force(bad)
        eventually(lambda: running.refresh().json()["version"] == bad)
        body, origin = running.body("pay/prod"), running.origin
    with serving_origin(tmp_path, issuer, origin) as again:
        assert again.body("pay/prod") == body
    assert (body["config"], body["version"], body["head"]) == ({"n": 2}, good, bad)


def test_a_restart_serves_the_last_good_version_too(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: 1\n"}) as running:
        good = running.origin.head
        running.push({"pay.yml": "n: [\n"})
        origin = running.origin
    with serving_origin(tmp_path, issuer, origin) as again:
        body = again.body("pay/prod")
    assert (body["version"], body["config"], body["stale"][0]["reason"]) == (good, {"n": 1}, "invalid")


def test_a_server_that_saw_no_good_head_finds_one_in_the_history(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path / "one", issuer, {"pay.yml": "n: 1\n"}) as running:
        good = running.origin.head
        for number in range(3):
            running.origin.write({"pay.yml": f"n: [{number}\n", "other.yml": f"n: {number}\n"})
        origin = running.origin
    with serving_origin(tmp_path / "two", issuer, origin) as fresh:
        body = fresh.body("pay/prod")
    assert (body["version"], body["head"], body["config"]) == (good, origin.head, {"n": 1})


def test_with_nothing_good_it_is_422_naming_file_line_and_reason(bench: Serving) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": "a: 1\na: 2\n"})

    answer = bench.get(f"{service}/prod")

    assert answer.status_code == 422
    problem = answer.json()
    assert problem["type"] == "urn:config-server:bad-configuration"
    assert (problem["file"], problem["line"]) == (f"{service}.yml", 2)
    assert "duplicate" in problem["reason"]


@pytest.mark.parametrize("kind", ["tag", "commit"])
def test_a_tag_or_commit_is_itself_or_an_error(bench: Serving, kind: str) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": "n: 1\n"})
    bad = bench.origin.write({f"{service}.yml": "n: [\n"})
    bench.origin.tag(f"bad-{service}")
    bench.push({f"{service}.yml": "n: 2\n"})

    label = bad if kind == "commit" else f"bad-{service}"

    assert bench.get(f"{service}/prod", label=label).status_code == 422
    assert bench.config(f"{service}/prod")["n"] == 2


def test_a_comment_or_another_order_changes_no_etag(bench: Serving) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": "a: 1\nb: {c: 2, d: 3}\n"})
    before = bench.body(f"{service}/prod")
    after_commit = bench.push({f"{service}.yml": "# said again\nb: {d: 3, c: 2}\na: 1\n"})

    after = bench.body(f"{service}/prod")

    assert (after["etag"], after["version"]) == (before["etag"], after_commit)


def test_a_symlink_or_a_huge_file_is_refused_and_the_rest_is_served(bench: Serving) -> None:
    service, huge = bench.new_service(), bench.new_service()
    (bench.origin.work / f"{service}.yml").symlink_to("application.yml")
    bench.push({f"{huge}.yml": "a: " + "x" * (1 << 20)})

    answers: dict[str, Any] = {name: bench.get(f"{name}/prod") for name in (service, huge)}

    assert {name: answer.status_code for name, answer in answers.items()} == {service: 422, huge: 422}
    assert "symbolic link" in answers[service].json()["reason"]
    assert "1 MiB" in answers[huge].json()["reason"]
    (bench.origin.work / f"{service}.yml").unlink()
    bench.push({f"{huge}.yml": None})
