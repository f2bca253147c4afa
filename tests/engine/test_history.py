"""History tells what changed for the readers of a target, and nothing else; a diff tells what, and no secret."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonpatch
import pytest

from app.engine.history import WALK
from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from tests.serving import VIEW_ALL, Serving, serving
from tests.support import eventually

FOLDER = ".config-server/schemas"


def _history(running: Serving, target: str, **query: Any) -> dict[str, Any]:
    answer = running.ask(f"/v1/history/{target}", params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def _commits(running: Serving, target: str, **query: Any) -> list[str]:
    return [each["commit"] for each in running.revisions(target, **query) if each["kind"] == "commit"]


def _diff(running: Serving, target: str, **query: Any) -> dict[str, Any]:
    answer = running.ask(f"/v1/diff/{target}", params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_only_commits_that_changed_the_effective_configuration_appear(bench: Serving) -> None:
    service = bench.new_service()
    file, shared = f"{service}-{service}.yml", f"application-{service}.yml"
    made = bench.push({file: "a: 1\nb: {c: 2, d: 3}\n"}, "made")
    bench.push({file: "# a comment\na: 1\nb: {c: 2, d: 3}\n"})
    bench.push({file: "b: {d: 3, c: 2}\na: 1\n"}, "another order")
    bench.push({shared: "a: 9\n"}, "overridden")
    bench.push({f"other-{service}.yml": "a: 1\n"}, "another service's")
    changed = bench.push({file: "a: 2\nb: {c: 2, d: 3}\n"}, "changed\n\nwith a body")
    bench.push({file: "a: [\n"}, "bad")
    bench.push({file: "a: 2\nb: {c: 2, d: 3}\n"}, "as it was")
    of_all = bench.push({shared: "a: 9\nz: 1\n"}, "shared, and not overridden")

    revisions = bench.revisions(f"{service}/{service}")

    assert [each["commit"] for each in revisions][:3] == [of_all, changed, made]
    assert revisions[1] == {
        "kind": "commit",
        "commit": changed,
        "author": "Ada <ada@example.org>",
        "time": revisions[1]["time"],
        "message": "changed\n\nwith a body",
        "signature": "N",
        "keys": ["a"],
    }
    assert set(revisions[0]["keys"]) == {"z"}
    assert set(revisions[2]["keys"]) == {"a", "b.c", "b.d"}


def test_a_service_that_is_taken_away_and_what_a_schema_lets_through_are_changes(bench: Serving) -> None:
    service = bench.new_service()
    file = f"{service}.yml"
    made = bench.push({file: "pool: 5\n", f"{FOLDER}/{service}.json": '{"properties": {"pool": {"maximum": 9}}}'})
    bench.push({file: "pool: 50\n"}, "held back")
    let_through = bench.push({f"{FOLDER}/{service}.json": '{"properties": {"pool": {"maximum": 99}}}'})
    gone = bench.push({file: None})

    assert _commits(bench, f"{service}/prod")[:3] == [gone, let_through, made]


def test_pages_follow_each_other_without_a_gap(bench: Serving) -> None:
    service = bench.new_service()
    made = [bench.origin.write({f"{service}.yml": f"n: {number // 2}\n"}) for number in range(10)]
    bench.refresh()
    whole = _commits(bench, f"{service}/prod")
    assert whole[:5] == made[::2][::-1]

    found: list[str] = []
    cursor = None
    while cursor is not None or not found:
        page = _history(bench, f"{service}/prod", limit=2, **({"cursor": cursor} if cursor else {}))
        found += [each["commit"] for each in page["revisions"]]
        cursor = page["next"]

    assert found == whole


@pytest.mark.parametrize("cursor", ["x", "f" * 40, f"{'f' * 40}_9", f"{'f' * 40}_--upload-pack=x"])
def test_a_cursor_of_another_history_is_refused(bench: Serving, cursor: str) -> None:
    answer = bench.ask("/v1/history/shop/prod", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["field"]) == (400, "cursor")


@pytest.mark.slow
def test_the_first_page_is_the_same_before_and_after_the_history_is_kept(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: 0\n"}) as running:
        commits = [running.origin.write({"pay.yml": f"n: {number}\n", "x": f"{number}"}) for number in range(1, 30)]
        running.refresh()
        eventually(lambda: _is_kept(running, commits[-1]))
        kept, cursor = _first_page(running, "pay/prod", 7)
        for file in (tmp_path / "data").glob("mirror-history.db*"):
            file.unlink(missing_ok=True)
        assert not _is_kept(running, commits[-1])
        assert _first_page(running, "pay/prod", 7) == (kept, cursor)
        assert [each["commit"] for each in kept] == commits[:-8:-1]
        rest = running.revisions("pay/prod", cursor=cursor)
        assert [each["commit"] for each in rest][:22] == commits[:-7][::-1]


def _is_kept(running: Serving, commit: str) -> bool:
    with running.server.services.repository.history.past(commit) as past:
        return past is not None


def _first_page(running: Serving, target: str, limit: int) -> tuple[list[dict[str, Any]], str]:
    """With its cursor; put together from parts where the machine is so busy that it ended early."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while len(found) < limit:
        page = _history(running, target, limit=limit - len(found), **({"cursor": cursor} if cursor else {}))
        found += page["revisions"]
        cursor = page["next"]
    return found, cursor


@pytest.mark.slow
def test_a_page_does_not_end_where_only_bad_commits_were_looked_at(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: 0\n"}) as running:
        first = running.origin.head
        last = _pushed_at_once(running.origin, [f"n: [  # {number}\n" for number in range(WALK)] + ["n: 1\n"])
        running.refresh()
        page = eventually(
            lambda: (found := running.ask("/v1/history/pay/prod").json()).get("next") and found, timeout=60
        )
        assert [each["commit"] for each in page["revisions"]] == [last]
        cursor = page["next"]
        (oldest,) = _history(running, "pay/prod", cursor=cursor)["revisions"]
        assert (oldest["commit"], oldest["keys"]) == (first, ["n"])
        for file in (tmp_path / "data").glob("mirror-history.db*"):
            file.unlink(missing_ok=True)
        answer = running.ask("/v1/history/pay/prod")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


def _pushed_at_once(origin: OriginRepo, contents: list[str]) -> str:
    """A commit with each of these as pay.yml, all of them there at once. The id of the last."""
    stream = [b"reset refs/heads/main\nfrom refs/heads/main^0\n"]
    for number, text in enumerate(contents):
        data = text.encode()
        when = b"%d +0000" % (int(time.time()) + number // 1000)
        stream.append(b"commit refs/heads/main\ncommitter Ada <a@b> %b\ndata 1\nm\n" % when)
        stream.append(b"M 100644 inline pay.yml\ndata %d\n%b\n" % (len(data), data))
    subprocess.run(["git", "-C", origin.bare, "fast-import", "--quiet"], input=b"".join(stream), check=True)
    return origin.pushed()


def test_rotations_of_its_secrets_stand_among_the_commits(tmp_path: Path, issuer: LocalIssuer, bao: Bao) -> None:
    bao.put("services/rota/prod/db", {"password": "one"})
    reference = "${vault:kv/services/rota/prod/db#password}"
    files = {"rota.yml": f"db: {{password: '{reference}'}}\n"}
    with serving(tmp_path, issuer, files, vault=bao, secret_watch_seconds=0.05) as running:
        assert running.config("rota/prod")["db"]["password"] == "one"
        bao.put("services/rota/prod/db", {"password": "two"})
        eventually(lambda: running.config("rota/prod")["db"]["password"] == "two")
        eventually(lambda: len(running.revisions("rota/prod")) == 2)
        bao.put("services/rota/prod/db", {"password": "three"})
        eventually(lambda: len(running.revisions("rota/prod")) == 3)

        revisions = running.revisions("rota/prod", token=running.token(VIEW_ALL))

        assert [each["kind"] for each in revisions] == ["rotation", "rotation", "commit"]
        assert [each.get("secret_version") for each in revisions] == [3, 2, None]
        assert revisions[0]["keys"] == ["db.password"]
        assert "vault" not in str(revisions)
        assert "services/" not in str(revisions)
        assert running.revisions("other/prod") == []


def test_a_configuration_as_it_stood_at_a_time(bench: Serving) -> None:
    service = bench.new_service()
    first = bench.push({f"{service}.yml": "n: 1\n"})
    then = _history(bench, f"{service}/prod")["revisions"][0]["time"]
    _wait_for_the_next_second()
    bench.push({f"{service}.yml": "n: 2\n"})

    body = bench.body(f"{service}/prod", at=then)

    assert (body["config"]["n"], body["label"], body["version"]) == (1, first, first)
    assert bench.config(f"{service}/prod", at="2100-01-01T00:00:00+01:00")["n"] == 2
    assert _commits(bench, f"{service}/prod", at=then)[0] == first
    assert bench.get(f"{service}/prod", at="1990-01-01T00:00:00Z").status_code == 404
    for wrong in ("yesterday", "2024-01-01T00:00:00", "2024-01-01"):
        assert bench.get(f"{service}/prod", at=wrong).status_code == 400


def _wait_for_the_next_second() -> None:
    """Committers' times are in whole seconds."""
    second = int(time.time())
    eventually(lambda: int(time.time()) > second)


def test_a_diff_between_commits_names_keys_values_and_origins(bench: Serving) -> None:
    service = bench.new_service()
    file = f"{service}.yml"
    old = bench.push({file: "a: 1\nb: {c: x}\nl: [1]\n"})
    new = bench.push({file: "a: 2\nl: [1, 2]\nd: {}\n"})

    body = _diff(bench, f"{service}/prod", **{"from": old})

    assert body["from"] == {"env": "prod", "label": old, "version": old}
    assert body["to"] == {"env": "prod", "label": "main", "version": new}
    assert body["changes"] == [
        {"key": "a", "change": "changed", "from": 1, "from_origin": f"{file}:1:4", "to": 2, "to_origin": f"{file}:1:4"},
        {"key": "l[1]", "change": "added", "to": 2, "to_origin": f"{file}:2:8"},
        {"key": "d", "change": "added", "to": {}, "to_origin": f"{file}:3:4"},
        {"key": "b.c", "change": "removed", "from": "x", "from_origin": f"{file}:2:8"},
    ]
    assert _diff(bench, f"{service}/prod", **{"from": new})["changes"] == []


def test_a_diff_as_a_patch_makes_the_one_of_the_other(bench: Serving) -> None:
    service = bench.new_service()
    old = bench.push({f"{service}.yml": "a: 1\nb: {c: x, 'a/b~c': 1}\nl: [1]\n"})
    bench.push({f"{service}.yml": "a: 2\nb: {'a/b~c': 2}\nl: [1, 2]\n"})
    before, after = bench.config(f"{service}/prod", label=old), bench.config(f"{service}/prod")

    by_query = bench.ask(f"/v1/diff/{service}/prod", params={"from": old, "format": "patch"})
    by_header = bench.ask(
        f"/v1/diff/{service}/prod", params={"from": old}, headers={"Accept": "application/json-patch+json"}
    )

    assert by_query.headers["Content-Type"] == by_header.headers["Content-Type"] == "application/json-patch+json"
    assert by_query.json() == by_header.json()
    assert jsonpatch.apply_patch(before, by_query.json()) == after


def test_a_diff_never_tells_a_secret_and_tells_that_it_differs(bench: Serving, bao: Bao) -> None:
    service = bench.new_service()
    for env in ("prod", "staging"):
        bao.put(f"services/{service}/{env}/db", {"password": f"hunter2-{env}"})
    references = {env: f"${{vault:kv/services/{service}/{env}/db#password}}" for env in ("prod", "staging")}
    old = bench.push({f"{service}.yml": "a: plain\nn: 1\n"})
    bench.push({f"{service}-{env}.yml": f"a: {reference}\n" for env, reference in references.items()})

    answer = bench.ask(f"/v1/diff/{service}/prod", params={"from": old})
    (change,) = answer.json()["changes"]
    assert (change["from"], change["to"]) == ("plain", "******")
    envs = bench.ask(f"/v1/diff/{service}/prod", params={"to_env": "staging"})
    assert [(each["from"], each["to"]) for each in envs.json()["changes"]] == [("******", "******")]
    patch = bench.ask(f"/v1/diff/{service}/prod", params={"to_env": "staging", "format": "patch"})
    assert patch.json() == [{"op": "replace", "path": "/a", "value": "******"}]
    for each in (answer, envs, patch):
        assert "hunter2" not in each.text
        assert "vault" not in each.text


def test_a_diff_between_envs_takes_a_grant_for_both(bench: Serving) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": "a: 1\n", f"{service}-staging.yml": "a: 2\n"})
    narrow = bench.token(f"config:view:{service}/prod")

    body = _diff(bench, f"{service}/prod", to_env="staging")

    assert [(each["key"], each["from"], each["to"]) for each in body["changes"]] == [("a", 1, 2)]
    for query in ({"to_env": "staging"}, {"from_env": "staging"}, {"from": "main", "from_env": "a,b"}):
        assert bench.ask(f"/v1/diff/{service}/prod", token=narrow, params=query).status_code == 403
    assert bench.ask(f"/v1/diff/{service}/prod", token=narrow, params={"from": "main"}).status_code == 200


@pytest.mark.parametrize(
    "query", [{}, {"from": "x..y"}, {"from": "2024-99-99T00:00:00Z"}, {"from": "main", "to": "12:00"}, {"to": "main"}]
)
def test_a_diff_of_nothing_that_is_is_refused(bench: Serving, query: dict[str, str]) -> None:
    assert bench.ask("/v1/diff/shop/prod", params=query).status_code == 400


def test_a_diff_between_times(bench: Serving) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": "n: 1\n"})
    then = datetime.now(UTC)
    _wait_for_the_next_second()
    bench.push({f"{service}.yml": "n: 2\n"})
    later = (then + timedelta(days=1)).isoformat()

    body = _diff(bench, f"{service}/prod", **{"from": then.isoformat(), "to": later})

    assert json.dumps([(each["from"], each["to"]) for each in body["changes"]]) == "[[1, 2]]"
