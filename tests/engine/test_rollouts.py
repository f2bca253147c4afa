"""A gradual release: chosen instances get another branch, by requests and streams, until one of them rejects it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.valkey import Valkey
from tests.serving import VIEW_ALL, Serving, serving, serving_origin
from tests.support import eventually
from tests.valkeys import valkey

__all__ = ["valkey"]

FILE = ".config-server/rollouts.toml"
FILES: dict[str, str | bytes | None] = {"pay.yml": "n: 1\n", "shop.yml": "n: 1\n", "logback.xml": "<n>${n}</n>\n"}


def rollout(text: str = 'instances = ["canary-*"]', *, service: str = "pay", branch: str = "next") -> str:
    return f'[[rollout]]\nservice = "{service}"\nbranch = "{branch}"\n{text}\n'


class Release:
    """A server with a branch `next` beside main, and the file that gives it to some."""

    def __init__(self, running: Serving) -> None:
        self.running = running

    def on(self, branch: str, files: dict[str, str | bytes | None]) -> str:
        self.running.origin.branch(branch)
        commit = self.running.push(files)
        self.running.origin.branch("main")
        return commit

    def body(self, instance: str | None, coordinates: str = "pay/prod", **query: Any) -> dict[str, Any]:
        headers = {"X-Config-Instance": instance} if instance else {}
        answer = self.running.get(coordinates, headers=headers, **query)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def tag(self, instance: str) -> str:
        etag: str = self.running.get("pay/prod", headers={"X-Config-Instance": instance}).headers["ETag"]
        return etag

    def n(self, instance: str | None, coordinates: str = "pay/prod") -> Any:
        return self.body(instance, coordinates)["config"]["n"]

    def instances(self) -> dict[str, dict[str, Any]]:
        answer = self.running.ask("/v1/admin/instances?service=pay", token=self.running.token(VIEW_ALL))
        return {each["instance"]: each for each in answer.json()["instances"]}

    def problems(self) -> list[dict[str, Any]]:
        answer = self.running.ask("/v1/admin/problems?all=true", token=self.running.token(VIEW_ALL))
        return [each for each in answer.json()["problems"] if each["kind"] == "rollout"]

    @contextlib.contextmanager
    def stream(self, instance: str) -> Iterator[Follower]:
        token = self.running.token(sub=f"client-{instance}")
        headers = {"Authorization": f"Bearer {token}", "X-Config-Instance": instance}
        url = f"{self.running.server.url}/v1/events?topic=pay/prod"
        with httpx.stream("GET", url, headers=headers, timeout=60, trust_env=False) as answer:
            frames = (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: "))
            yield Follower(self.running, frames, token)


class Follower:
    """One event stream, and the acks of its client."""

    def __init__(self, running: Serving, frames: Iterator[dict[str, Any]], token: str) -> None:
        self._running, self._frames, self._token = running, frames, token
        self.conn = next(frames)["conn"]
        self.etag = ""

    def told(self) -> Any:
        """The next configuration that it is told."""
        frame = next(frame for frame in self._frames if frame.get("op") == "put")
        assert frame["topic"] == "pay/prod/main"
        self.etag = frame["etag"]
        return frame["doc"]["n"]

    def ack(self, status: str, *, etag: str = "", **more: str) -> None:
        body = {"conn": self.conn, "rev": "1-0.1", "topic": "pay/prod/main", "etag": etag or self.etag, **more}
        said = {**body, "status": status}
        eventually(
            lambda: self._running.ask("/v1/acks", token=self._token, method="POST", json=said).status_code == 204
        )


@pytest.fixture
def release(tmp_path: Path, issuer: LocalIssuer) -> Iterator[Release]:
    with serving(tmp_path, issuer, FILES, git_write=True) as running:
        made = Release(running)
        made.on("next", {"pay.yml": "n: 2\n", "shop.yml": "n: 2\n"})
        running.push({FILE: rollout()})
        yield made


def test_chosen_instances_read_the_branch_and_the_rest_the_head(release: Release) -> None:
    chosen, other = release.body("canary-1"), release.body("pay-1")
    assert (chosen["config"], chosen["label"], chosen["rollout"]) == ({"n": 2}, "main", "next")
    assert chosen["version"] == release.running.origin.pushed("next")
    assert (other["config"], other["version"]) == ({"n": 1}, release.running.origin.pushed("main"))
    assert "rollout" not in other
    assert release.n(None) == 1
    assert release.n("canary-1", "shop/prod") == 1
    assert release.body("canary-1", label="next")["config"] == {"n": 2}
    assert "X-Config-Instance" in release.running.get("pay/prod").headers["Vary"]


def test_etags_tell_the_branches_apart_and_plain_files_follow(release: Release) -> None:
    etags = {name: release.tag(name) for name in ("canary-1", "pay-1")}
    for name in etags:
        for holder, etag in etags.items():
            answer = release.running.get("pay/prod", headers={"X-Config-Instance": name, "If-None-Match": etag})
            assert answer.status_code == (304 if holder == name else 200)
    asked = {name: release.running.get("pay/prod/logback.xml", headers={"X-Config-Instance": name}) for name in etags}
    assert {name: answer.text.strip() for name, answer in asked.items()} == {
        "canary-1": "<n>2</n>",
        "pay-1": "<n>1</n>",
    }


def test_a_name_that_is_none_is_refused_and_the_inner_name_is_nobodys(release: Release) -> None:
    answer = release.running.get("pay/prod", headers={"X-Config-Instance": "x" * 129})
    assert (answer.status_code, answer.json()["field"]) == (400, "X-Config-Instance")
    assert release.running.get("pay/prod", label="main~next").status_code == 400


def test_streams_are_moved_when_a_rollout_begins_grows_and_ends(release: Release) -> None:
    running = release.running
    running.push({FILE: None})
    with release.stream("canary-1") as chosen, release.stream("pay-1") as other:
        assert (chosen.told(), other.told()) == (1, 1)
        running.push({FILE: rollout()})
        assert chosen.told() == 2
        release.on("next", {"pay.yml": "n: 3\n"})
        assert chosen.told() == 3
        running.push({FILE: rollout("percent = 100")})
        assert other.told() == 3
        running.push({FILE: None, "pay.yml": "n: 4\n"})
        assert (chosen.told(), other.told()) == (4, 4)
    eventually(lambda: not [each for each in running.server.services.notifier.targets() if each.is_candidate])


def test_a_websocket_says_who_it_is_when_it_subscribes(release: Release) -> None:
    headers = {"Authorization": f"Bearer {release.running.token()}"}
    url = release.running.server.url.replace("http", "ws") + "/v1/stream"
    with connect(url, additional_headers=headers, subprotocols=["cfg.v1"], proxy=None) as socket:  # type: ignore[list-item]
        subscribe = {"type": "subscribe", "topics": [{"name": "pay/prod"}], "client": {"instance": "canary-2"}}
        socket.send(json.dumps(subscribe))
        frames = (json.loads(message) for message in socket)
        change = next(frame for frame in frames if frame["type"] == "change")
        assert (change["topic"], change["doc"]) == ("pay/prod/main", {"n": 2})
        release.on("next", {"pay.yml": "n: 5\n"})
        assert next(frame for frame in frames if frame["type"] == "change")["doc"] == {"n": 5}
        unsubscribe = {"type": "unsubscribe", "topics": ["pay/prod"]}
        socket.send(json.dumps(unsubscribe))
        eventually(lambda: not release.running.server.services.notifier.targets())


def test_a_rejection_ends_it_for_all_until_the_branch_moves(release: Release) -> None:
    running = release.running
    bad = running.origin.pushed("next")
    with release.stream("canary-1") as first, release.stream("canary-2") as second, release.stream("pay-1") as other:
        assert (first.told(), second.told(), other.told()) == (2, 2, 1)
        other.ack("rejected", reason="this one does not count")
        first.ack("applied")
        second.ack("rejected", reason="n is too large")
        assert (first.told(), second.told()) == (1, 1)
        assert release.n("canary-3") == 1
        (problem,) = release.problems()
        assert (problem["reason"], problem["commit"]) == ("stopped", bad)
        assert "canary-2 has rejected next: n is too large" in problem["detail"]
        token = running.token("config:audit")
        audit = "/v1/admin/audit?action=rollout.*"
        records = eventually(lambda: running.ask(audit, token=token).json()["records"])
        assert [(each["target"], each["version"]) for each in records] == [("next", bad)]

        release.on("next", {"pay.yml": "n: 3\n"})
        assert (first.told(), second.told()) == (3, 3)
        assert release.problems()[0]["reason"] == "unprotected"


def test_who_rejects_what_was_given_before_ends_nothing(release: Release) -> None:
    with release.stream("canary-1") as follower:
        assert follower.told() == 2
        old = follower.etag
        release.on("next", {"pay.yml": "n: 3\n"})
        assert follower.told() == 3
        follower.ack("rejected", etag=old)
        release.on("next", {"pay.yml": "n: 4\n"})
        assert follower.told() == 4
        assert release.n("canary-1") == 4


def test_the_list_of_instances_shows_who_gets_what_and_who_is_behind(release: Release) -> None:
    with release.stream("canary-1") as chosen, release.stream("pay-1") as other:
        chosen.told()
        other.told()
        chosen.ack("applied")
        other.ack("applied")
        eventually(lambda: len(release.instances()) == 2)
        known = release.instances()
        assert {name: each["rollout"] for name, each in known.items()} == {"canary-1": "next", "pay-1": None}
        assert {each["behind"] for each in known.values()} == {False}


def test_a_candidate_that_is_bad_is_not_given(release: Release) -> None:
    with release.stream("canary-1") as follower:
        assert follower.told() == 2
        release.on("next", {"pay.yml": "n: [\n"})
        assert release.n("canary-1") == 2  # the last good one of the branch
        release.running.origin.branch("fresh")
        release.running.push({"pay.yml": "n: [\n"})
        release.running.origin.branch("main")
        release.running.push({FILE: rollout(branch="nowhere")})
        assert follower.told() == 1
        assert release.problems()[0]["reason"] == "missing"
        release.running.push({"pay.yml": "n: 9\n"})
        assert follower.told() == 9


def test_a_held_branch_has_no_rollouts(release: Release) -> None:
    token = release.running.token("config:write")
    head = release.running.origin.pushed("main")
    order = {"commit": head, "seconds": 600, "reason": "r"}
    with release.stream("canary-1") as follower:
        assert follower.told() == 2
        assert release.running.ask("/v1/admin/hold", token=token, method="POST", json=order).status_code == 200
        assert follower.told() == 1
        assert release.running.ask("/v1/admin/hold/release", token=token, method="POST", json={}).status_code == 200
        assert follower.told() == 2


def test_a_file_that_cannot_be_read_releases_nothing_and_gets_in_through_nobody(release: Release) -> None:
    token = release.running.token("config:write")
    edit = {"file": FILE, "text": "[[rollout]]\nservice = 1\n"}
    body = {"base": release.running.origin.pushed(), "message": "m", "edits": [edit]}
    refused = release.running.ask("/v1/admin/changes", token=token, method="POST", json=body)
    assert (refused.status_code, refused.json()["file"]) == (422, FILE)
    release.running.push({FILE: "[[rollout]]\nservice = 1\n"})
    assert release.n("canary-1") == 1
    (problem,) = release.problems()
    assert (problem["reason"], problem["file"]) == ("broken", FILE)


def test_a_long_poll_of_a_chosen_instance_hears_of_its_branch(release: Release) -> None:
    etag = release.tag("canary-1")
    with httpx.Client(base_url=release.running.server.url, trust_env=False, timeout=60) as client:
        headers = {
            "Authorization": f"Bearer {release.running.token()}",
            "X-Config-Instance": "canary-1",
            "If-None-Match": etag,
        }
        request = client.build_request("GET", "/v1/config/pay/prod?wait=50", headers=headers)
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(client.send, request)
            eventually(lambda: len(release.running.server.services.notifier) == 1)
            release.on("next", {"pay.yml": "n: 7\n"})
            assert answer.result(40).json()["config"] == {"n": 7}


@pytest.mark.slow
def test_secrets_are_only_filled_in_on_a_branch_that_is_named_for_it(
    tmp_path: Path, issuer: LocalIssuer, bao: Bao
) -> None:
    bao.put("services/pay/prod/db", {"password": "s3cret-of-the-branch"})
    reference = "n: ${vault:kv/services/pay/prod/db#password}\n"
    for labels, expected in (((), 1), (("next",), "s3cret-of-the-branch")):
        directory = tmp_path / (labels[0] if labels else "none")
        with serving(directory, issuer, FILES, vault=bao, secret_labels=labels) as running:
            release = Release(running)
            release.on("next", {"pay.yml": reference})
            running.push({FILE: rollout()})
            assert release.n("canary-1") == expected
            assert release.n("pay-1") == 1


@pytest.mark.slow
def test_all_hosts_agree_on_who_gets_what_and_when_it_ends(tmp_path: Path, issuer: LocalIssuer, valkey: Valkey) -> None:
    key = tmp_path / "key"
    key.write_text("k" * 40)
    shared: dict[str, Any] = {"redis_url": valkey.url, "key_file": key, "namespace": tmp_path.name}
    with contextlib.ExitStack() as closing:
        first = Release(closing.enter_context(serving(tmp_path / "a", issuer, FILES, **shared)))
        origin = first.running.origin
        first.on("next", {"pay.yml": "n: 2\n"})
        first.running.push({FILE: rollout("percent = 50")})
        second = Release(closing.enter_context(serving_origin(tmp_path / "b", issuer, origin, **shared)))
        names = [f"pay-{number}" for number in range(40)]
        given = {name: first.n(name) for name in names}
        assert {name: second.n(name) for name in names} == given
        assert set(given.values()) == {1, 2}
        chosen = next(name for name, n in given.items() if n == 2)
        with second.stream(chosen) as follower:
            assert follower.told() == 2
            follower.ack("rejected", reason="no")
            assert follower.told() == 1
            eventually(lambda: {first.n(name) for name in names} == {1})
    with serving_origin(tmp_path / "b", issuer, origin, **shared) as again:
        assert Release(again).n(chosen) == 1
