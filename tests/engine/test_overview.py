"""What an operator is told: what is held back and why, who is connected and who is behind; never more than a grant."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from tests.serving import VIEW_ALL, Serving, serving
from tests.support import eventually

FOLDER = ".config-server/schemas"


def _problems(running: Serving, service: str, scope: str = "") -> list[dict[str, Any]]:
    """Of a grant for this service: else all that the other tests have left is looked at as well."""
    answer = running.ask("/v1/admin/problems", token=running.token(scope or f"config:view:{service}"))
    assert answer.status_code == 200, answer.text
    return [each for each in answer.json()["problems"] if service in json.dumps(each)]


def _instances(running: Serving, scope: str = VIEW_ALL, **query: Any) -> dict[str, Any]:
    answer = running.ask("/v1/admin/instances", token=running.token(scope), params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_held_back_target_is_told_with_commit_file_line_and_rule(bench: Serving) -> None:
    service = bench.new_service()
    good = bench.push(
        {f"{service}.yml": "a: 1\npool: 5\n", f"{FOLDER}/{service}.json": '{"properties": {"pool": {"maximum": 9}}}'}
    )
    bench.config(f"{service}/prod")
    bad = bench.push({f"{service}.yml": "a: 1\npool: 50\n"})

    (problem,) = _problems(bench, service)

    assert problem.pop("since") == bench.body(f"{service}/prod")["stale"][0]["since"]
    rule = f"{FOLDER}/{service}.json#/properties/pool/maximum"
    assert problem == {
        "kind": "held_back",
        "reason": "invalid",
        "service": service,
        "env": "prod",
        "label": "main",
        "commit": bad,
        "version": good,
        "file": f"{service}.yml",
        "line": 2,
        "schema": rule,
        "keys": ["pool"],
        "detail": f"pool: must be at most 9 ({rule})",
    }
    bench.push({f"{service}.yml": "a: 1\npool: 6\n"})
    assert _problems(bench, service) == []


def test_what_cannot_be_served_and_a_refused_secret_are_told(bench: Serving, bao: Bao) -> None:
    service, deputy = bench.new_service(), bench.new_service()
    reference = "${vault:kv/services/other-team/prod/db#password}"
    bench.push({f"{service}.yml": "a: [\n", f"{deputy}.yml": "a: 1\n"})
    assert bench.get(f"{service}/prod").status_code == 422
    bench.config(f"{deputy}/prod")
    bad = bench.push({f"{deputy}.yml": f"a: {reference}\n"})

    (failing,) = _problems(bench, service)
    (held,) = _problems(bench, deputy)

    assert (failing["kind"], failing["reason"], failing["file"], failing["line"]) == (
        "failing",
        "bad-configuration",
        f"{service}.yml",
        2,
    )
    assert (held["kind"], held["commit"], held["keys"]) == ("held_back", bad, ["a"])
    assert "other-team" not in json.dumps(held)
    bench.push({f"{service}.yml": None, f"{deputy}.yml": None})
    assert _problems(bench, deputy) == []


def test_a_broken_schema_is_told_by_file_line_and_reason(bench: Serving) -> None:
    service = bench.new_service()
    head = bench.push({f"{service}.yml": "a: 1\n", f"{FOLDER}/{service}.json": '{\n  "type": "text"\n}'})
    bench.config(f"{service}/prod")

    (problem,) = _problems(bench, service)

    assert (problem["kind"], problem["commit"]) == ("schema", head)
    assert (problem["file"], problem["line"]) == (f"{FOLDER}/{service}.json", 2)
    assert "2020-12" in problem["detail"]
    bench.push({f"{FOLDER}/{service}.json": '{"$ref": "#"}'})
    assert "without an end" in _problems(bench, service)[0]["detail"]
    bench.push({f"{FOLDER}/{service}.json": None})
    assert _problems(bench, service) == []


def test_problems_instances_and_status_tell_no_more_than_a_grant_covers(bench: Serving) -> None:
    mine, other = bench.new_service(), bench.new_service()
    bench.push({f"{mine}.yml": "a: 1\n", f"{other}.yml": "a: 1\n"})
    for service in (mine, other):
        bench.config(f"{service}/prod")
    bench.push({f"{mine}.yml": "a: [\n", f"{other}.yml": "a: [\n"})
    narrow = f"config:view:{mine}/prod"  # what other tests have named after envs makes further targets of it known
    with _following(bench, mine), _following(bench, other):
        for service in (mine, other):
            eventually(lambda service=service: len(_instances(bench, service=service)["instances"]) == 1)  # type: ignore[misc]

        assert [each["service"] for each in _problems(bench, "", narrow)] == [mine]
        assert _problems(bench, mine, "config:view:nobody") == []
        seen = _instances(bench, narrow)
        assert {each["service"] for each in seen["instances"]} == {mine}
        assert seen["totals"]["all"] == 1
        status = bench.ask("/v1/admin/status", token=bench.token(narrow)).json()
        assert status["targets"] == {"known": 1, "held_back": 1, "failing": 0}
        assert status["instances"]["all"] == 1
        assert other not in json.dumps(status)
    bench.push({f"{mine}.yml": None, f"{other}.yml": None})


def test_what_nobody_asks_for_is_told_when_all_is_asked_for(tmp_path: Path, issuer: LocalIssuer) -> None:
    files = {"application.yml": "log: info\n", "pay.yml": "n: [\n", "shop-dev.yml": "n: 1\n"}
    with serving(tmp_path, issuer, files, envs=("prod", "dev")) as running:

        def broken(query: str, scope: str = VIEW_ALL) -> set[tuple[str, str]]:
            answer = running.ask(f"/v1/admin/problems{query}", token=running.token(scope))
            assert answer.status_code == 200, answer.text
            return {(each["service"], each["env"]) for each in answer.json()["problems"]}

        assert broken("") == broken("?all=false") == set()
        assert broken("?all=true") == {("pay", "prod"), ("pay", "dev")}
        assert broken("?all=true", "config:view:pay/dev") == {("pay", "dev")}
        status = running.ask("/v1/admin/status", token=running.token(VIEW_ALL)).json()
        assert status["targets"] == {"known": 4, "held_back": 0, "failing": 0}


def test_status_tells_where_the_server_stands(bench: Serving) -> None:
    head = bench.push({"application.yml": "shared: 1\n"})
    status = bench.ask("/v1/admin/status", token=bench.token(VIEW_ALL)).json()
    assert (status["label"], status["head"], status["stale"], status["ready"]) == ("main", head, [], True)
    assert {"git", "vault", "redis"} <= set(status["parts"])


class _Follower:
    """An event stream of one service, and the acks of its client."""

    def __init__(self, running: Serving, service: str, frames: Iterator[dict[str, Any]], token: str) -> None:
        self._running = running
        self._topic = f"{service}/prod/main"
        self._frames = frames
        self._token = token
        self.conn = next(frames)["conn"]

    def change(self) -> dict[str, Any]:
        return next(frame for frame in self._frames if frame["type"] == "change")

    def ack(self, etag: str, status: str, **more: str) -> None:
        body = {"conn": self.conn, "rev": "1-0.1", "topic": self._topic, "etag": etag, "status": status, **more}

        def answered() -> bool:
            answer = self._running.ask("/v1/acks", token=self._token, method="POST", json=body)
            return answer.status_code == 204

        eventually(answered)


@contextlib.contextmanager
def _following(running: Serving, service: str, instance: str | None = None) -> Iterator[_Follower]:
    token = running.token(sub=f"client-of-{service}")
    headers = {"Authorization": f"Bearer {token}", **({"X-Config-Instance": instance} if instance else {})}
    url = f"{running.server.url}/v1/events?topic={service}/prod"
    with httpx.stream("GET", url, headers=headers, timeout=60, trust_env=False) as answer:
        frames = (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: "))
        yield _Follower(running, service, frames, token)


def test_who_applied_who_is_behind_and_who_rejected(bench: Serving) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": "n: 1\n"})

    def only() -> dict[str, Any]:
        (found,) = _instances(bench, service=service)["instances"]
        return dict(found)

    with _following(bench, service, f"{service}-1") as follower:
        etag = follower.change()["etag"]
        eventually(lambda: _instances(bench, service=service)["instances"])
        silent = only()
        assert (silent["instance"], silent["subject"]) == (f"{service}-1", f"client-of-{service}")
        assert (silent["connection"], silent["transport"], silent["env"]) == (follower.conn, "sse", "prod")
        assert (silent["applied"], silent["behind"], silent["rejected"]) == (None, None, None)

        follower.ack(etag, "applied")
        assert (only()["applied"], only()["behind"]) == (etag, False)
        assert _instances(bench, service=service, behind="true")["instances"] == []

        bench.push({f"{service}.yml": "n: 2\n"})
        newer = follower.change()["etag"]
        assert only()["behind"] is True
        follower.ack(newer, "rejected", reason="the pool is too small")
        rejected = only()
        assert (rejected["applied"], rejected["behind"]) == (etag, True)
        assert (rejected["rejected"]["etag"], rejected["rejected"]["reason"]) == (newer, "the pool is too small")
        page = _instances(bench, service=service, behind="true")
        assert len(page["instances"]) == 1
        assert page["totals"] == {"all": 1, "behind": 1, "rejected": 1, "silent": 0, "rollout": 0, "versions": {"": 1}}

        bench.push({f"{service}.yml": "n: 1\n"})
        assert follower.change()["etag"] == etag
        assert only()["behind"] is False
    eventually(lambda: _instances(bench, service=service)["instances"] == [])


def test_instances_come_in_pages(bench: Serving) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": "n: 1\n"})
    with contextlib.ExitStack() as streams:
        for number in range(3):
            streams.enter_context(_following(bench, service, f"{service}-{number}"))
        eventually(lambda: _instances(bench, service=service)["totals"]["all"] == 3)
        first = _instances(bench, service=service, limit=2)
        second = _instances(bench, service=service, limit=2, offset=first["next"])
        names = [each["instance"] for page in (first, second) for each in page["instances"]]
        assert (names, second["next"]) == ([f"{service}-{number}" for number in range(3)], None)
