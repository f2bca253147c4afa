"""Streams over a network that delays, stalls, cuts and falls silent: nothing is lost, doubled, or left behind."""

from __future__ import annotations

import contextlib
import functools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import TypeAlias

import pytest

from devstack.server import Server
from tests.cluster.behind import Behind
from tests.cluster.clients import EventClient, Held, WebSocketClient, arrived, on_each_worker
from tests.cluster.conftest import NewStack
from tests.cluster.leftovers import nothing_left, quiet, streams_open
from tests.cluster.promises import last
from tests.cluster.stack import Stack, timed
from tests.support import eventually

#: Larger than what the kernels of both sides put into their buffers, when it comes a few times.
BIG = "x" * 900_000
FILLING = "".join(f"key{number}: a value that stays as it is\n" for number in range(40))
#: How soon a peer that acknowledges nothing is given up: 30 s, with a heartbeat before it.
SILENCE = 60
#: For how long (seconds) a client may take nothing: one of a busy machine must not be cut for it, and one that sits
#: stalled must not have been cut when the others are looked at.
SLOW, NEVER_SLOW = 3, 60
Stream: TypeAlias = WebSocketClient | EventClient
Open: TypeAlias = Callable[..., Stream]
KINDS = pytest.mark.parametrize("kind", [WebSocketClient, EventClient], ids=lambda kind: kind.kind)


@pytest.fixture(scope="module")
def brisk(new_stack: NewStack) -> tuple[Stack, Server]:
    """Two workers whose heartbeat is a second, and for whom a client is slow soon."""
    stack = new_stack()
    stack.origin.write({"pay.yml": "n: 0\n"})
    return stack, stack.server(application=timed(heartbeat=1, stream_write=SLOW, drain=1, redis=10)).start()


@pytest.fixture(scope="module")
def patient(new_stack: NewStack) -> tuple[Stack, Server]:
    """One worker whose heartbeat is a second, and for whom no client of these tests is slow."""
    stack = new_stack()
    stack.origin.write({"pay.yml": "n: 0\n"})
    return stack, stack.server(application=timed(heartbeat=1, stream_write=NEVER_SLOW, redis=10), WORKERS="1").start()


@contextlib.contextmanager
def following(opened: Callable[[], Stream]) -> Iterator[Stream]:
    """A client that holds something already; what it was told is judged at the end."""
    client = opened()
    try:
        eventually(client.held)
        yield client
        client.check()
    finally:
        client.close()


def pushed(stack: Stack, server: Server, files: Mapping[str, str]) -> str:
    version = stack.origin.write(files)
    stack.refresh(server)
    return version


@KINDS
@pytest.mark.slow
def test_a_change_arrives_over_a_slow_link_that_tears_everything_to_pieces(
    shared: Stack, duo: Server, kind: Open
) -> None:
    pushed(shared, duo, {"torn.yml": FILLING + "n: 0\n"})
    with Behind(duo, seed=3) as link:
        link.up.delay = link.down.delay = 0.005
        link.up.jitter = link.down.jitter = 0.01
        link.up.torn = link.down.torn = True
        link.up.piece, link.down.piece = 20, 100
        with following(lambda: kind(link, shared.token("torn"), {"torn/prod": None})) as client:
            for number in range(1, 4):
                version = pushed(shared, duo, {"torn.yml": FILLING + f"n: {number}\n"})
                (held,) = arrived([client], version)
                assert held.doc["n"] == number
            assert len(client.told.of("change")) == 4


@KINDS
@pytest.mark.slow
def test_who_is_stalled_slows_nobody_and_gets_the_newest_state_when_released(
    patient: tuple[Stack, Server], kind: Open
) -> None:
    stack, server = patient
    token = stack.token("pay")
    pushes = 10
    with (
        Behind(server, buffer=4096) as link,
        following(lambda: kind(link, token, {"pay/prod": None})) as stalled,
        following(lambda: kind(server, token, {"pay/prod": None})) as other,
    ):
        link.down.stall()
        waits: list[float] = []
        for number in range(pushes):
            version = pushed(stack, server, {"pay.yml": f"{stalled.kind}: {number}\nbig: {BIG}\n"})
            answered = time.monotonic()
            waits.append(last(arrived([other], version), answered))
        assert median(waits) < 1
        assert max(waits) < NEVER_SLOW / 6
        assert version not in {each.version for each in stalled.held().values()}
        link.down.release()
        (held,) = arrived([stalled], version, timeout=30)
        assert held.doc[stalled.kind] == pushes - 1
        assert len(other.told.of("change")) == 1 + pushes
        assert len(stalled.told.of("change")) < 1 + pushes, "all that was between is told to nobody"
        assert not stalled.ended


@KINDS
@pytest.mark.slow
def test_who_takes_nothing_for_too_long_is_cut_and_comes_back_for_the_newest(
    brisk: tuple[Stack, Server], kind: Open
) -> None:
    stack, server = brisk
    token = stack.token("pay")
    with nothing_left(server), Behind(server, buffer=4096) as link:
        with (
            following(lambda: kind(link, token, {"pay/prod": None})) as stalled,
            following(lambda: WebSocketClient(server, token, {"pay/prod": None})) as one,
            following(lambda: EventClient(server, token, {"pay/prod": None})) as two,
        ):
            link.down.stall()
            for number in range(8):
                version = pushed(stack, server, {"pay.yml": f"cut {stalled.kind}: {number}\nbig: {BIG}\n"})
                arrived([one, two], version)
            eventually(lambda: streams_open(server) == 2)
            link.down.release()
            eventually(lambda: stalled.ended)
            assert not one.ended
            assert not two.ended
        before = stalled.held()
        etags = {topic: held.etag for topic, held in before.items()}
        with following(lambda: kind(link, token, etags, before=before)) as back:
            arrived([back], version)
            kinds = [frame["type"] for _, frame in back.told.frames]
            begun = kinds.index("subscribed")  # a heart may beat before a busy client has said what it wants
            assert kinds[begun : begun + 3] == ["subscribed", "change", "sync"]
    eventually(lambda: "4500" in {line.get("stream.reason") for line in server.log_lines()})  # the last that is told
    quiet(server)


ROUNDS = 12
HELD = "held/prod/main", "held/dev/main"


@KINDS
@pytest.mark.slow
def test_after_a_cut_in_the_middle_exactly_what_is_missing_comes_and_nothing_twice(
    shared: Stack, duo: Server, kind: Open
) -> None:
    """What had arrived before the cut, but not the whole `sync` after it, is dropped, and comes again."""
    drawn = random.Random(f"{kind}")
    token = shared.token("held")
    files = {"held-prod.yml": HELD[:1], "held-dev.yml": HELD[1:], "held.yml": HELD}
    numbers = iter(range(1000, 9999))

    def push(file: str) -> str:
        return pushed(shared, duo, {file: FILLING + f"{file[:-4]}: {next(numbers)}\n"})

    for file in files:
        push(file)
    with (
        # so that every worker knows what the client holds, wherever it comes back
        on_each_worker(duo, lambda: EventClient(duo, token, dict.fromkeys(HELD))) as others,
        Behind(duo) as link,
        contextlib.ExitStack() as closing,
    ):
        opened = functools.partial(kind, link, token, patches=True)
        client = closing.enter_context(following(lambda: opened(dict.fromkeys(HELD))))
        sizes = {}
        for file, topics in files.items():  # how much one such change is, on the wire
            passed = link.down.passed
            await_all([client], topics, push(file))
            sizes[file] = link.down.passed - passed
        for number in range(ROUNDS):
            file = drawn.choice(list(files))
            # at first within the last frame, which is the `sync`: its number may have become a byte longer
            link.down.cut_after(
                sizes[file] - 2 if not number else drawn.randint(1, sizes[file] - 2), reset=number % 2 > 0
            )
            before = client.held()
            version = push(file)
            await_all(others, files[file], version)
            eventually(lambda: client.ended)  # noqa: B023 - done within the round
            assert client.held() == before, "staged is not applied"
            client = closing.enter_context(
                following(lambda: opened({topic: held.etag for topic, held in before.items()}, before=before))  # noqa: B023
            )
            await_all([client], files[file], version)
            check_resumed(client, files[file], before)


def await_all(clients: Sequence[Stream], topics: tuple[str, ...], version: str) -> None:
    def told(client: Stream) -> bool:
        held = client.held()
        return all(topic in held and held[topic].version == version for topic in topics)

    eventually(lambda: all(map(told, clients)))


def check_resumed(client: Stream, topics: tuple[str, ...], before: Mapping[str, Held]) -> None:
    kinds = [frame["type"] for _, frame in client.told.frames]
    assert kinds == ["hello", "subscribed", *["change"] * len(topics), "sync"]
    assert client.told.of("subscribed")[0]["mode"] == "changes"
    changes = {frame["topic"]: frame for frame in client.told.of("change")}
    assert changes.keys() == set(topics)
    assert {change["op"] for change in changes.values()} == {"patch"}
    assert all(change["base"] == before[topic].etag for topic, change in changes.items())


@KINDS
@pytest.mark.slow
def test_a_client_that_says_it_will_send_no_more_is_seen_off(brisk: tuple[Stack, Server], kind: Open) -> None:
    """A stream has no half: nobody who still listens ends his own direction (RFC 6455, 7.2.1; proxies do it too)."""
    stack, server = brisk
    with nothing_left(server), Behind(server) as link:
        client = kind(link, stack.token("pay"), {"pay/prod": None})
        with contextlib.closing(client):
            eventually(client.held)
            link.half_close(up=True)
            eventually(lambda: client.ended)
            eventually(lambda: streams_open(server) == 0)
    quiet(server)


@pytest.mark.slow
def test_clients_whose_cable_is_pulled_are_noticed_and_their_places_are_free(brisk: tuple[Stack, Server]) -> None:
    """Nobody tells the server: no packet comes any more, and none is acknowledged."""
    stack, server = brisk
    token = stack.token("pay")
    with (
        nothing_left(server),
        Behind(server) as link,
        following(lambda: WebSocketClient(link, token, {"pay/prod": None})),
        following(lambda: EventClient(link, token, {"pay/prod": None})),
        following(lambda: WebSocketClient(server, token, {"pay/prod": None})) as other,
    ):
        link.unplug()
        eventually(lambda: streams_open(server) == 1, timeout=SILENCE)
        arrived([other], pushed(stack, server, {"pay.yml": "pulled: true\n"}))
    quiet(server)


@KINDS
@pytest.mark.slow
def test_a_short_outage_costs_a_delay_and_no_connection(patient: tuple[Stack, Server], kind: Open) -> None:
    stack, server = patient
    token = stack.token("pay")
    with (
        Behind(server) as link,
        following(lambda: kind(link, token, {"pay/prod": None})) as client,
        following(lambda: kind(server, token, {"pay/prod": None})) as other,
    ):
        link.unplug()
        for number in range(3):
            version = pushed(stack, server, {"pay.yml": f"outage of {other.kind}: {number}\n"})
            arrived([other], version)
        link.plug()
        arrived([client], version, timeout=60)  # TCP has waited longer after each try
        assert not client.ended
