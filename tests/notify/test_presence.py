"""Who is connected and what each has applied, told by every worker and seen by all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from app.cache import RedisLink
from app.notify import Connection, Presence
from app.notify.leases import LEASE_SECONDS, LocalLeases, RedisLeases
from app.notify.presence import LocalPresence, PresenceStore, RedisPresence
from app.notify.wire import Ack
from devstack.valkey import Valkey
from tests.support import eventually
from tests.valkeys import MakeLink

PAY, SHOP = "pay/prod/main", "shop/prod/main"
REV, ETAG = "1-0123abcd.4", "e" * 32


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["local", "redis"])
def store(request: pytest.FixtureRequest) -> PresenceStore:
    return LocalPresence() if request.param == "local" else RedisPresence(request.getfixturevalue("link"))


@pytest.fixture
def presence(store: PresenceStore) -> Presence:
    return Presence(store, LocalLeases(), per_instance=2, per_subject=0)


def stream(number: int = 1, subject: str = "ada") -> Connection:
    return Connection(f"{number:016x}", "websocket", subject, "10.0.0.7", "2025-01-02T03:04:05.678Z")


def arrived(presence: Presence, number: int = 1, *topics: str, instance: str | None = None) -> str:
    connection = stream(number)
    assert presence.arrive(connection, instance)
    presence.subscribed(connection.id, topics or (PAY,))
    presence.flush()
    return connection.id


def ack(topic: str = PAY, status: str = "applied", reason: str | None = None) -> Ack:
    return Ack(REV, topic, ETAG, status, reason)


def test_a_stream_is_seen_with_all_that_is_known_of_it(presence: Presence) -> None:
    connection = arrived(presence)
    assert presence.identify(connection, "pay-7f", "1.2")
    presence.flush()
    assert presence.all() == [
        {
            "v": 1,
            "id": connection,
            "transport": "websocket",
            "issuer": "",
            "subject": "ada",
            "address": "10.0.0.7",
            "since": "2025-01-02T03:04:05.678Z",
            "instance": "pay-7f",
            "version": "1.2",
            "topics": [PAY],
            "acks": {},
        }
    ]


def test_a_stream_that_ended_is_seen_no_more(presence: Presence) -> None:
    connection = arrived(presence)
    presence.depart(connection)
    presence.flush()
    assert presence.all() == []
    presence.depart(connection)  # and a second end changes nothing
    presence.flush()


def test_an_ack_in_the_stream_is_noted_with_its_reason(presence: Presence) -> None:
    connection = arrived(presence, 1, PAY, SHOP)
    presence.acknowledge(connection, ack())
    presence.acknowledge(connection, ack(SHOP, "rejected", "no colour"))
    presence.acknowledge(connection, ack("other/prod/main"))
    presence.acknowledge("0" * 16, ack())
    presence.flush()
    acks = presence.all()[0]["acks"]
    assert set(acks) == {PAY, SHOP}
    assert {name: acks[SHOP][name] for name in ("rev", "etag", "status", "reason")} == {
        "rev": REV,
        "etag": ETAG,
        "status": "rejected",
        "reason": "no colour",
    }
    assert "reason" not in acks[PAY]
    presence.subscribed(connection, [SHOP])
    presence.flush()
    assert set(presence.all()[0]["acks"]) == {SHOP}, "what is not followed any more is forgotten"


@pytest.mark.parametrize("way", ["in the stream", "beside it"])
def test_an_ack_that_was_overtaken_on_its_way_changes_nothing(presence: Presence, way: str) -> None:
    connection = arrived(presence)
    presence.flush()
    newer, older = replace(ack(), rev="1-0123abcd.5", etag="f" * 32), ack(status="rejected", reason="too small")
    for each in (newer, older):
        if way == "in the stream":
            presence.acknowledge(connection, each)
        else:
            assert presence.acknowledge_for(connection, "ada", each)
    presence.flush()
    held = presence.all()[0]["acks"][PAY]
    assert (held["rev"], held["status"]) == ("1-0123abcd.5", "applied")
    presence.acknowledge(connection, replace(older, rev="2-0123abcd.1"))
    presence.flush()
    if way == "in the stream":
        assert presence.all()[0]["acks"][PAY]["status"] == "rejected", "another epoch counts anew"


def test_an_ack_by_another_way_counts_for_who_holds_the_stream(presence: Presence) -> None:
    connection = arrived(presence)
    assert not presence.acknowledge_for(connection, "mallory", ack())
    assert not presence.acknowledge_for(connection, "ada", ack(SHOP))
    assert not presence.acknowledge_for("0" * 16, "ada", ack())
    assert presence.acknowledge_for(connection, "ada", ack(status="rejected", reason="too small"))
    assert presence.all()[0]["acks"][PAY]["reason"] == "too small"
    presence.flush(everything=True)
    assert presence.all()[0]["acks"][PAY]["reason"] == "too small", "what the worker writes hides it not"


def test_an_instance_holds_as_many_streams_as_it_may(presence: Presence) -> None:
    for number in (1, 2):
        arrived(presence, number, instance="pay-7f")
    assert not presence.arrive(stream(3), "pay-7f")
    assert presence.arrive(stream(4))
    assert not presence.identify(stream(4).id, "pay-7f", None), "nor by saying so later"
    presence.depart(stream(1).id)
    assert presence.identify(stream(4).id, "pay-7f", None)
    assert presence.identify(stream(4).id, "pay-7f", "2"), "saying it again takes nothing more"
    presence.flush()
    assert {record["id"] for record in presence.all()} == {stream(2).id, stream(4).id}, "who was refused is not seen"


def test_a_subject_holds_as_many_streams_as_it_may(store: PresenceStore) -> None:
    presence = Presence(store, LocalLeases(), per_instance=0, per_subject=2)
    assert [presence.arrive(stream(number), "same") for number in (1, 2, 3)] == [True, True, False]
    assert presence.arrive(stream(4, subject="bob"), "same")
    presence.depart(stream(1).id)
    assert presence.arrive(stream(5))


def test_an_ack_may_come_to_another_worker(link: RedisLink, make_link: MakeLink, valkey: Valkey) -> None:
    one, two = (
        Presence(RedisPresence(each), RedisLeases(each), per_instance=0, per_subject=0)
        for each in (link, make_link(valkey))
    )
    connection = arrived(one)
    assert two.acknowledge_for(connection, "ada", ack())
    for worker in (one, two):
        assert worker.all()[0]["acks"][PAY]["etag"] == ETAG
    one.depart(connection)
    one.flush(everything=True)
    assert two.all() == []
    assert link.call(lambda client: client.hlen(link.key("streams:acks"))) == 0


def test_streams_of_a_dead_worker_vanish_and_leave_nothing(link: RedisLink) -> None:
    clock = Clock()
    dead, living = (
        Presence(RedisPresence(link, clock), LocalLeases(), per_instance=0, per_subject=0) for _ in range(2)
    )
    lost, kept = arrived(dead, 1), arrived(living, 2)
    assert living.acknowledge_for(lost, "ada", ack())
    assert len(living.all()) == 2
    clock.now += LEASE_SECONDS / 2
    living.flush(everything=True)
    clock.now += LEASE_SECONDS / 2 + 1
    assert [record["id"] for record in living.all()] == [kept]
    living.flush(everything=True)
    assert link.call(lambda client: client.hlen(link.key("streams"))) == 1
    assert link.call(lambda client: client.zcard(link.key("streams:ends"))) == 1
    assert link.call(lambda client: client.hlen(link.key("streams:acks"))) == 0


def test_many_streams_are_written_in_parts(link: RedisLink) -> None:
    clock = Clock()  # which stands still, however long it takes
    presence = Presence(RedisPresence(link, clock), RedisLeases(link, clock), per_instance=0, per_subject=2000)
    for number in range(1201):
        assert presence.arrive(stream(number))
    presence.flush(everything=True)
    assert len(presence.all()) == 1201
    for number in range(1201):
        presence.depart(stream(number).id)
    presence.flush()
    assert presence.all() == []


def test_while_redis_is_away_streams_go_on_and_are_seen_again_after(own_valkey: Valkey, make_link: MakeLink) -> None:
    link = make_link(own_valkey)
    presence = Presence(RedisPresence(link), RedisLeases(link), per_instance=1, per_subject=1)
    own_valkey.stop()
    connection = arrived(presence, instance="pay-7f")
    presence.acknowledge(connection, ack())
    assert not presence.acknowledge_for(connection, "ada", ack())
    presence.flush(everything=True)
    assert presence.all() == []
    own_valkey.start()

    def seen() -> list[dict[str, Any]]:
        presence.flush(everything=True)
        return presence.all()

    eventually(seen)
    assert presence.all()[0]["acks"][PAY]["status"] == "applied"
    other = Presence(RedisPresence(link), RedisLeases(link), per_instance=1, per_subject=1)
    assert not other.arrive(stream(2), "pay-7f"), "and counted again"


@pytest.fixture
def running(store: PresenceStore) -> Iterator[Presence]:
    with ExitStack() as closing:
        presence = Presence(store, LocalLeases(), per_instance=0, per_subject=0, flush_seconds=0.02)
        presence.start()
        closing.callback(presence.close)
        yield presence


def test_what_changes_is_written_by_a_thread_of_its_own(running: Presence) -> None:
    assert running.arrive(stream(1))
    eventually(running.all)
    running.depart(stream(1).id)
    eventually(lambda: not running.all())
