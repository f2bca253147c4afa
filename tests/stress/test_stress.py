"""Pushes, reverts, forced pushes, cuts, stalls, killed workers and reloads at random; then every promise is judged.

STRESS_SEED replays the same troubles, STRESS_SECONDS makes it longer (20 by default). What a failing run recorded is
in its temporary directory, one JSON line for each connection.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.server import Server
from tests.cluster.clients import ask
from tests.cluster.stack import Stack
from tests.stress.followers import Follower, settled, stalled, waited
from tests.stress.history import History
from tests.stress.validators import faults_of, no_gap
from tests.support import eventually

SEED = int(os.environ.get("STRESS_SEED") or random.SystemRandom().randrange(10_000))
SECONDS = float(os.environ.get("STRESS_SECONDS") or 20)
#: How soon everybody must be at the head once there is peace: 5 s, and the time in which a cut client comes back.
RECOVERY = 8
SERVICES = [f"s{number}" for number in range(5)]
FILLING = "".join(f"key{number}: a value that stays as it is\n" for number in range(30))


class Trouble:
    """What may happen, each by the same random numbers for the same seed. `heads` are all that were ever pushed."""

    def __init__(self, stack: Stack, server: Server, followers: list[Follower], seed: int) -> None:
        self._stack, self._server, self._followers = stack, server, followers
        self._random = random.Random(seed)
        self._count = 0
        self.heads = [stack.origin.head]
        self.made: list[str] = []
        self._choices: list[tuple[Callable[[], object], int]] = [
            (self.push, 40),
            (self.push_to_all, 10),
            (self.bad_push, 4),
            (self.revert, 8),
            (self.force, 6),
            (self.cut, 20),
            (self.stall, 10),
            (self.kill, 1),
            (self.reload, 1),
        ]

    def next(self) -> None:
        actions, weights = zip(*self._choices, strict=True)
        (action,) = self._random.choices(actions, weights)
        self.made.append(action.__name__)
        action()

    def push(self) -> None:
        service = self._random.choice(SERVICES)
        self._write({f"{service}.yml": self._document()})

    def push_to_all(self) -> None:
        self._count += 1
        self._write({"application.yml": f"shared: {self._count}\n"})

    def bad_push(self) -> None:
        self._write({f"{self._random.choice(SERVICES)}.yml": "broken: [\n"})

    def revert(self) -> None:
        """An earlier content again, as a new commit."""
        service = self._random.choice(SERVICES)
        self._write({f"{service}.yml": FILLING + "n: 0\n"})

    def force(self) -> None:
        commit = self._random.choice(self.heads[-6:])
        if commit != self._stack.origin.head:
            self._stack.origin.force(commit)
            self._announced(commit)

    def cut(self) -> None:
        self._random.choice(self._followers).disconnect()

    def stall(self) -> None:
        stalled(self._random.choice(self._followers), self._random.uniform(0.5, 3))

    def kill(self) -> None:
        with contextlib.suppress(IndexError):  # the last one was killed a moment ago
            self._server.kill_worker(self._server.workers[0])

    def reload(self) -> None:
        self._server.reload()

    def peace(self) -> dict[str, str]:
        """Mend everything, change everything once more; topic -> the etag at which it stands."""
        for follower in self._followers:
            follower.reading.set()
        eventually(lambda: len(self._server.workers) == 2, timeout=20)
        eventually(lambda: self._answers("/health/ready"), timeout=20)
        self._count += 1
        documents = {f"{service}.yml": self._document() for service in SERVICES}
        self._write({**documents, "application.yml": f"shared: {self._count}\n"}, hook=False)
        eventually(lambda: self._refreshed(), timeout=20)
        head = self._stack.origin.head
        return {f"{service}/prod/main": self._etag(service, head) for service in SERVICES}

    def _write(self, files: dict[str, str | bytes | None], *, hook: bool = True) -> None:
        self._announced(self._stack.origin.write(files), hook=hook)

    def _announced(self, head: str, *, hook: bool = True) -> None:
        self.heads.append(head)
        if hook and self._random.random() < 0.8:  # the others are found by polling, or with the next
            with contextlib.suppress(OSError, httpx.HTTPError):
                self._stack.hook(self._server)

    def _document(self) -> str:
        self._count += 1
        return f"{FILLING}n: {self._count}\nlist: [{self._count}, x]\n"

    def _refreshed(self) -> bool:
        return ask(self._server, "/v1/admin/refresh", self._stack.admin, "POST").status_code == 200

    def _answers(self, path: str) -> bool:
        try:
            return ask(self._server, path, timeout=2).status_code == 200
        except (OSError, httpx.HTTPError):
            return False

    def _etag(self, service: str, head: str) -> str:
        def standing() -> str:
            answer = ask(self._server, f"/v1/config/{service}/prod", self._stack.issuer.token(scope="config:read:*/*"))
            body = answer.json()
            return str(body["etag"]) if answer.status_code == 200 and body["version"] == head else ""

        return eventually(standing, timeout=RECOVERY)


@pytest.fixture
def stack(tmp_path: Path, bao: Bao, issuer: LocalIssuer) -> Iterator[Stack]:
    made = Stack(tmp_path / "stack", bao, issuer)
    made.origin.write({"application.yml": "shared: 0\n", **{f"{name}.yml": FILLING + "n: 0\n" for name in SERVICES}})
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.timeout(120 + 2 * SECONDS)
def test_whatever_happens_every_client_is_told_everything_once_and_in_order(stack: Stack, tmp_path: Path) -> None:
    seeds = random.Random(SEED)
    server = stack.server(application="tests.stress.app:app", POLL_SECONDS="2").start()
    topics = {
        f"client-{number}": [f"{name}/prod/main" for name in seeds.sample(SERVICES, seeds.randint(1, 4))]
        for number in range(16)
    }
    followers = [
        Follower(
            name, server, stack.issuer.token(sub=name, scope="config:read:*/*"), wanted, seed=seeds.randrange(1 << 30)
        )
        for name, wanted in topics.items()
    ]
    trouble = Trouble(stack, server, followers, SEED)
    with ExitStack() as closing:
        for follower in followers:
            follower.start()
            closing.callback(follower.close)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            trouble.next()
            time.sleep(seeds.uniform(0, 0.15))  # the pace of the troubles, no wait
        standing = trouble.peace()
        at_head = waited(lambda: settled(followers, standing, topics), RECOVERY)
    histories = [history for follower in followers for history in follower.histories]
    write_down(tmp_path / "histories.jsonl", histories)
    told = f"STRESS_SEED={SEED}, histories in {tmp_path}/histories.jsonl, troubles: {trouble.made}"
    faults = faults_of(histories, trouble.heads)
    for follower in followers:
        wanted = {topic: standing[topic] for topic in topics[follower.name]}
        faults += [f"{follower.name} [no gap] {fault}" for fault in no_gap(follower.histories[-1], wanted)]
    assert [follower.fault for follower in followers if follower.fault] == [], told
    assert faults == [], told
    assert at_head, told
    assert len(histories) > len(followers), "nobody was ever cut: no trouble at all"
    kinds = {frame.get("op", frame["type"]) for history in histories for frame in history.frames}
    assert {"put", "patch", "sync", "goodbye"} <= kinds, kinds


def write_down(path: Path, histories: list[History]) -> None:
    path.write_text("".join(history.dumps() + "\n" for history in histories))
