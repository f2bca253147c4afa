"""Pushes, reverts, forced pushes, cuts, stalls, kills, reloads and a Valkey that forgets; then every promise is judged.

Two hosts of two workers each, with mirrors of their own, over one Valkey. STRESS_SECONDS makes it longer (12 by
default, but every trouble comes at least once). STRESS_SEED makes the same troubles come in the same order again; what
the servers are doing when one comes, nobody can replay. What a failing run recorded is in its temporary directory, one
JSON line for each connection.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.server import Server
from tests.cluster.clients import ask
from tests.cluster.stack import Stack
from tests.stress.content import SHARED, Content, topic_of
from tests.stress.followers import Follower, following, settled, unsettled, waited
from tests.stress.plan import DECK, plan
from tests.stress.troubles import Troubles, in_good_health
from tests.stress.validators import faults_of, no_gap
from tests.support import eventually

SEED = int(os.environ.get("STRESS_SEED") or random.SystemRandom().randrange(10_000))
SECONDS = float(os.environ.get("STRESS_SECONDS") or 12)
#: How soon everybody must be at the head once there is peace, in seconds; and how long what is late is waited for, as
#: the machine may be busy just then, and the next try is in time.
RECOVERY, PATIENCE, TRIES = 5, 60, 3
SERVICES = [f"s{number}" for number in range(5)]
FOLLOWERS = 16
#: What must be told, and how connections must end, in a run that proves something: it goes on until all have happened.
TOLD = {"put", "patch", "state", "sync", "goodbye"}
ENDS = {"cut", "lost", "1012"}


@pytest.fixture
def stack(tmp_path: Path, bao: Bao, issuer: LocalIssuer) -> Iterator[Stack]:
    made = Stack(tmp_path / "stack", bao, issuer)
    yield made
    made.close()


@pytest.fixture
def content(stack: Stack) -> Content:
    return Content(stack.origin, SERVICES)


@pytest.fixture
def hosts(stack: Stack, content: Content) -> list[Server]:
    settings = {"application": "tests.stress.app:app", "POLL_SECONDS": "2", "STREAMS_PER_INSTANCE": "0"}
    made = [stack.server(**settings).start(until=None) for _ in range(2)]
    for host in made:
        eventually(lambda: in_good_health(host), timeout=60)  # noqa: B023 - done within the round
    return made


@pytest.fixture
def followers(stack: Stack, hosts: Sequence[Server]) -> list[Follower]:
    seeds = random.Random(SEED)
    return [
        Follower(
            f"client-{number}",
            hosts[number // 2 % 2],
            stack.issuer.token(sub=f"client-{number}", scope="config:read:*/*"),
            [topic_of(service) for service in seeds.sample(SERVICES, seeds.randint(1, 4))],
            kind=("websocket", "sse")[number % 2],
            seed=seeds.randrange(1 << 30),
        )
        for number in range(FOLLOWERS)
    ]


@pytest.mark.slow
@pytest.mark.timeout(300 + 2 * SECONDS)
def test_whatever_happens_every_client_is_told_everything_once_and_in_order(
    stack: Stack, hosts: list[Server], content: Content, followers: list[Follower], tmp_path: Path
) -> None:
    troubles = Troubles(stack, hosts, content, followers)
    until = time.monotonic() + SECONDS
    with following(followers):
        for step in plan(SEED):
            troubles.do(step)
            time.sleep(step.pause)  # the pace of the troubles, no wait
            enough = len(troubles.made) >= sum(DECK.values()) and not lacking(followers)
            if time.monotonic() > until and (enough or time.monotonic() > until + PATIENCE):
                break
        troubles.make_well()
        for _ in range(TRIES):
            content.write(SHARED, *SERVICES)
            stack.hook(hosts[0])
            at_head = waited(lambda: settled(followers, content.standing), RECOVERY)
            if at_head or not waited(lambda: settled(followers, content.standing), PATIENCE):
                break
        late = unsettled(followers, content.standing)
    histories = [history for follower in followers for history in follower.histories]
    (tmp_path / "histories.jsonl").write_text("".join(history.dumps() + "\n" for history in histories))
    told = f"STRESS_SEED={SEED}, histories in {tmp_path}/histories.jsonl, troubles: {troubles.made}"
    assert [follower.fault for follower in followers if follower.fault] == [], told
    standing = etags(hosts, stack.issuer.token(scope="config:read:*/*"))
    gaps = [fault for follower in followers for fault in no_gap(follower.histories[-1], of(follower, standing))]
    assert (faults_of(histories, content.pushed), at_head, late, gaps, errors(hosts)) == ([], True, [], [], []), told
    assert (lacking(followers), set(troubles.made)) == (set(), set(DECK))


def etags(hosts: Sequence[Server], token: str) -> dict[str, str]:
    """topic -> the etag at which it stands, on both hosts.

    A worker that has just begun, and holds no stream yet, may be the last that is at the head, or has nothing yet.
    """

    def agreed() -> dict[str, str]:
        found: dict[str, set[str]] = {topic_of(service): set() for service in SERVICES}
        for host in hosts:
            for service in SERVICES:
                answer = ask(host, f"/v1/config/{service}/prod", token)
                found[topic_of(service)].add(answer.json()["etag"] if answer.status_code == 200 else "")
        return {topic: etag for topic, (etag, *others) in found.items() if etag and not others}

    return eventually(lambda: told if len(told := agreed()) == len(SERVICES) else {}, timeout=PATIENCE)


def of(follower: Follower, standing: dict[str, str]) -> dict[str, str]:
    return {topic: standing[topic] for topic in follower.topics}


def errors(hosts: Sequence[Server]) -> list[dict[str, Any]]:
    """Lines about what must not happen. gunicorn is right to tell of workers that were killed."""
    lines = [line for host in hosts for line in host.log_lines()]
    return [
        line for line in lines if line["log.level"] in {"error", "critical"} and line["log.logger"] != "gunicorn.error"
    ]


def lacking(followers: Sequence[Follower]) -> set[str]:
    """What nobody has been told yet, and how no connection has ended yet."""
    histories = [history for follower in followers for history in tuple(follower.histories)]
    told = {frame.get("op", frame["type"]) for history in histories for frame in tuple(history.frames)}
    return (TOLD - told) | (ENDS - {history.end for history in histories})
