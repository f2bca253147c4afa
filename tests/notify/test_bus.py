"""The bus over a real Valkey: what is heard, and that whatever breaks it mends itself and is made good by a look."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.cache import RedisLink
from app.notify import LocalBus, RedisBus, RedisCursorStore, channel_of
from app.notify.bus import cause_of, kind_of
from app.observability import on_behalf_of
from devstack.valkey import Valkey
from tests.notify.values import head, seeded, standing
from tests.support import eventually
from tests.valkeys import MakeLink


class Ear:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.heard: queue.Queue[str] = queue.Queue()

        self.requests: list[str | None] = []

    def __call__(self, kind: str, request_id: str | None) -> None:
        self.requests.append(request_id)
        self.heard.put(kind)

    def next(self, timeout: float = 30.0) -> str:
        return self.heard.get(timeout=timeout)


def told(logs: list[EventDict]) -> list[EventDict]:
    """What a bus says: other threads of this process may say something too."""
    return [line for line in logs if line["event"].startswith("bus.")]


class Listening:
    """Buses with an ear each, closed at the end."""

    def __init__(self) -> None:
        self._buses: list[RedisBus] = []

    def to(self, link: RedisLink) -> Ear:
        ear, bus = Ear(), RedisBus(link, channel_of(link, "default"), pause=0.1, read_timeout=0.2)
        self._buses.append(bus)
        bus.start(ear)
        return ear

    def close(self) -> None:
        for bus in self._buses:
            bus.close()


@pytest.fixture
def listening() -> Iterator[Listening]:
    buses = Listening()
    yield buses
    buses.close()


def test_the_local_bus_tells_of_hints_until_it_is_closed() -> None:
    bus, ear = LocalBus(), Ear()
    bus.hint()
    bus.start(ear)
    bus.hint()
    assert ear.next() == "hint"
    bus.close()
    bus.hint()
    assert ear.heard.empty()


def test_a_subscription_counts_as_a_move_as_words_may_have_passed_before_it(
    link: RedisLink, listening: Listening
) -> None:
    assert listening.to(link).next() == "moved"


def test_every_move_of_the_cursor_is_heard_by_all(link: RedisLink, listening: Listening) -> None:
    ears = [listening.to(link), listening.to(link)]
    store = RedisCursorStore(link, "default")
    for ear in ears:
        assert ear.next() == "moved"
    before = seeded(store)
    assert store.announce(before, "main", head(2))
    path, known = next(iter(standing(store).secrets.items()))
    assert store.rotate(before.rev.epoch, path, known, known)
    for ear in ears:
        assert [ear.next() for _ in range(3)] == ["moved"] * 3


def test_a_hint_is_heard_as_a_hint(link: RedisLink, listening: Listening) -> None:
    ear = listening.to(link)
    assert ear.next() == "moved"
    RedisBus(link, channel_of(link, "default"), pause=1).hint()
    assert ear.next() == "hint"


def test_words_that_nobody_here_knows_are_ignored_and_the_next_one_is_heard(
    link: RedisLink, listening: Listening
) -> None:
    ear = listening.to(link)
    assert ear.next() == "moved"
    channel = channel_of(link, "default")
    words: list[str | bytes] = [
        json.dumps({"v": 2, "hint": "fetch"}),
        "{",
        "[]",
        "null",
        b"\xff",
        "[" * 100_000,
        '{"v": "1"}',
        "",
    ]
    link.call(lambda client: [client.publish(channel, word) for word in words])
    link.call(lambda client: client.publish(channel, json.dumps({"v": 1, "hint": "fetch"})))
    assert ear.next() == "hint"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"type": "subscribe", "data": 1}, "moved"),
        ({"type": "message", "data": b'{"v": 1, "epoch": "1-00000000", "seq": 7}'}, "moved"),
        ({"type": "message", "data": b'{"v": 1, "hint": "fetch"}'}, "hint"),
        ({"type": "message", "data": b'{"v": 1, "hint": "sleep"}'}, "moved"),
        ({"type": "message", "data": b'{"v": 2}'}, None),
        ({"type": "message", "data": b'{"hint": "fetch"}'}, None),
        ({"type": "message", "data": b"[1]"}, None),
    ],
)
def test_a_message_is_read_as_what_it_means(message: dict[str, object], kind: str | None) -> None:
    assert kind_of(message) == kind


def test_a_connection_that_is_cut_is_made_again_and_counts_as_a_move(valkey: Valkey, listening: Listening) -> None:
    link = RedisLink(valkey.url, namespace="cut", timeout=5, pause=0.1)
    ear = listening.to(link)
    assert ear.next() == "moved"
    with valkey.client as client, capture_logs() as logs:
        assert client.execute_command("CLIENT", "KILL", "TYPE", "PUBSUB") >= 1
        assert ear.next() == "moved"
    assert [(line["event"], line["log_level"]) for line in told(logs)] == [("bus.connection_lost", "warning")]
    link.call(lambda client: client.publish(channel_of(link, "default"), '{"v": 1, "hint": "fetch"}'))
    assert ear.next() == "hint"
    link.close()


def test_a_restart_of_the_server_counts_as_a_move_and_is_told_in_one_line(
    own_valkey: Valkey, make_link: MakeLink, listening: Listening
) -> None:
    ear = listening.to(make_link(own_valkey))
    assert ear.next() == "moved"
    with capture_logs() as logs:
        own_valkey.stop()
        eventually(lambda: told(logs))
        own_valkey.start()
        assert ear.next() == "moved"
    (line,) = told(logs)
    assert line["event"] == "bus.connection_lost"
    assert "exc_info" not in line


def test_a_server_that_comes_later_is_found(own_valkey: Valkey, make_link: MakeLink, listening: Listening) -> None:
    own_valkey.stop()
    ear = listening.to(make_link(own_valkey))
    own_valkey.start()
    assert ear.next() == "moved"


def test_a_hint_that_cannot_be_sent_is_no_error(own_valkey: Valkey, make_link: MakeLink) -> None:
    own_valkey.stop()
    RedisBus(make_link(own_valkey), "channel", pause=1).hint()


def test_a_listener_that_fails_does_not_end_the_bus(link: RedisLink, listening: Listening) -> None:
    ear = Ear()

    def fail_once(kind: str, request_id: str | None) -> None:
        ear(kind, request_id)
        if ear.heard.qsize() == 1:
            raise ValueError("the first word is too much")

    bus = RedisBus(link, channel_of(link, "default"), pause=0.05, read_timeout=0.2)
    with capture_logs() as logs:
        bus.start(fail_once)
        eventually(lambda: ear.heard.qsize() >= 2)
        bus.close()
    assert [line["event"] for line in told(logs)].count("bus.failed") == 1


@pytest.mark.parametrize("state", ["idle", "gone", "hung"])
def test_closing_ends_the_thread_soon(own_valkey: Valkey, make_link: MakeLink, state: str) -> None:
    ear, bus = Ear(), RedisBus(make_link(own_valkey), "channel", pause=60, read_timeout=0.2)
    before = set(threading.enumerate())
    bus.start(ear)
    assert ear.next() == "moved"
    {"idle": lambda: None, "gone": own_valkey.stop, "hung": own_valkey.pause}[state]()
    started = time.monotonic()
    bus.close()
    assert time.monotonic() - started < 9, "the pause after a failure is a minute"
    eventually(lambda: set(threading.enumerate()) <= before)


def test_a_bus_that_never_started_can_be_closed(link: RedisLink) -> None:
    RedisBus(link, "channel", pause=1).close()


def test_the_request_behind_a_word_is_told_to_all_for_their_logs(link: RedisLink, listening: Listening) -> None:
    ear, bus = listening.to(link), RedisBus(link, channel_of(link, "default"), pause=0.1)
    assert ear.next() == "moved"
    with on_behalf_of("ask-1"):
        bus.hint()
    bus.hint()
    assert [ear.next(), ear.next()] == ["hint", "hint"]
    assert ear.requests == [None, "ask-1", None]


@pytest.mark.parametrize("said", ["", "a b", f"a 00-{'0' * 32}-{'0' * 16}-01 b", "x" * 129, 7, None, ["x"], "x\n"])
def test_what_is_no_id_of_a_request_is_nobodys(said: object) -> None:
    assert cause_of({"type": "message", "data": json.dumps({"v": 1, "request": said}).encode()}) is None
