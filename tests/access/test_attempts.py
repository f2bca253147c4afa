"""Counting failures: by address and minute, over hosts, and alone while Redis is away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.access.attempts import FailedAttempts, network_of
from app.cache import RedisLink
from devstack.valkey import Valkey
from tests.access.support import Clock

ADA, BOB = "198.51.100.7", "198.51.100.8"


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    yield server.start()
    server.close()


def link_to(valkey: Valkey, namespace: str) -> RedisLink:
    return RedisLink(valkey.url, namespace=namespace, timeout=5.0, pause=0.1)


def failures(attempts: FailedAttempts, address: str, count: int) -> list[float | None]:
    return [attempts.note(address) for _ in range(count)]


def test_beyond_the_limit_who_fails_is_told_how_long_to_wait() -> None:
    attempts = FailedAttempts(None, limit=3, clock=Clock(1_000_020.0))
    assert failures(attempts, ADA, 5) == [None, None, None, 60.0, 60.0]
    assert attempts.note(BOB) is None


def test_a_new_minute_forgets() -> None:
    clock = Clock(1_000_050.0)
    attempts = FailedAttempts(None, limit=1, clock=clock)
    assert failures(attempts, ADA, 2) == [None, 30.0]
    clock.now += 30
    assert attempts.note(ADA) is None


def test_without_a_limit_nothing_is_counted() -> None:
    assert set(failures(FailedAttempts(None, limit=0, clock=Clock(0.0)), ADA, 1000)) == {None}


def test_hosts_count_together(valkey: Valkey) -> None:
    one, other = (FailedAttempts(link_to(valkey, "together"), limit=4, clock=Clock(60.0)) for _ in range(2))
    assert failures(one, ADA, 4) == [None] * 4
    assert other.note(ADA) == 60.0
    assert other.note(BOB) is None


def test_a_flood_is_not_passed_on_to_redis(valkey: Valkey) -> None:
    link = link_to(valkey, "flood")
    failures(FailedAttempts(link, limit=5, clock=Clock(60.0)), ADA, 500)
    key = link.key(f"failed:{ADA}:1")
    count, seconds = link.call(lambda client: (client.get(key), client.ttl(key)))
    assert int(count or 0) <= 6
    assert 0 < int(seconds) <= 120


def test_while_redis_is_away_each_counts_alone_and_refuses_all_the_same(tmp_path: Path) -> None:
    with closing(Valkey(tmp_path / "valkey").start()) as valkey:
        attempts = FailedAttempts(link_to(valkey, "away"), limit=3, clock=Clock(60.0))
        assert attempts.note(ADA) is None
    assert failures(attempts, ADA, 3) == [None, None, 60.0]


def test_many_addresses_cost_a_bounded_memory() -> None:
    attempts = FailedAttempts(None, limit=1, clock=Clock(0.0))
    for number in range(30_000):
        attempts.note(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(attempts._counts) == 10_000


def test_threads_lose_no_failure() -> None:
    attempts = FailedAttempts(None, limit=400, clock=Clock(0.0))
    threads = [threading.Thread(target=failures, args=(attempts, ADA, 100)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert attempts.note(ADA) == 60.0


@pytest.mark.parametrize(
    ("address", "whole"),
    [
        (ADA, ADA),
        ("::ffff:198.51.100.7", ADA),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::1", "2001:db8:1:2::"),
        ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ("", "unknown"),
        (None, "unknown"),
        ("x\r\ny", "unknown"),
    ],
)
def test_whom_an_address_stands_for(address: str | None, whole: str) -> None:
    assert network_of(address) == whole
