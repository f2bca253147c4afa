"""How many streams a client may hold, over all workers: the same contract for one worker and for Redis."""

from __future__ import annotations

import threading
import time

import pytest

from app.cache import RedisLink
from app.notify.leases import LEASE_SECONDS, Lease, LeaseStore, LocalLeases, RedisLeases
from devstack.valkey import Valkey
from tests.valkeys import MakeLink


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["local", "redis"])
def leases(request: pytest.FixtureRequest) -> LeaseStore:
    return LocalLeases() if request.param == "local" else RedisLeases(request.getfixturevalue("link"))


def lease(holder: int, name: str = "pay-1", kind: str = "instance") -> Lease:
    return Lease(kind, name, f"c{holder}")


def test_a_client_gets_as_many_as_it_may_and_no_more(leases: LeaseStore) -> None:
    assert [leases.take(lease(n), 4) for n in range(6)] == [True] * 4 + [False] * 2
    leases.release(lease(2))
    assert [leases.take(lease(n), 4) for n in (6, 7)] == [True, False]


def test_who_asks_again_with_what_it_holds_takes_nothing_more(leases: LeaseStore) -> None:
    assert all(leases.take(lease(0), 2) for _ in range(3))
    assert leases.take(lease(1), 2)
    assert leases.take(lease(0), 2), "also when all are taken"


def test_names_and_kinds_are_counted_apart(leases: LeaseStore) -> None:
    assert leases.take(lease(0), 1)
    assert not leases.take(lease(1), 1)
    assert leases.take(lease(1, name="pay-2"), 1)
    assert leases.take(lease(1, kind="subject"), 1)


def test_what_was_never_held_can_be_released_and_renewed(leases: LeaseStore) -> None:
    leases.release(lease(0))
    leases.renew([])
    assert leases.take(lease(1), 1)


def test_of_many_who_come_at_once_as_many_get_in_as_may(leases: LeaseStore) -> None:
    start, answers = threading.Barrier(12), list[bool]()

    def take(number: int) -> None:
        start.wait()
        answers.append(leases.take(lease(number), 4))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 8 + [True] * 4


def test_two_workers_count_together(link: RedisLink, make_link: MakeLink, valkey: Valkey) -> None:
    one, two = RedisLeases(link), RedisLeases(make_link(valkey))
    assert [each.take(lease(n), 3) for n, each in enumerate((one, two, one, two))] == [True, True, True, False]
    one.release(lease(1))
    assert two.take(lease(4), 3)


def test_what_a_dead_worker_held_is_free_again_and_what_a_living_one_renews_is_not(link: RedisLink) -> None:
    clock = Clock()
    leases = RedisLeases(link, clock)
    assert leases.take(lease(0), 2)
    assert leases.take(lease(1), 2)
    for _ in range(3):
        clock.now += LEASE_SECONDS / 2
        leases.renew([lease(0)])
    assert leases.take(lease(2), 2)
    assert not leases.take(lease(3), 2)


def test_what_nobody_renews_leaves_redis_by_itself(link: RedisLink) -> None:
    RedisLeases(link).take(lease(0), 2)
    keys = [key for key in link.call(lambda client: list(client.scan_iter())) if key.startswith(link.key("").encode())]
    assert len(keys) == 1
    assert 0 < int(str(link.call(lambda client: client.ttl(keys[0])))) <= 2 * LEASE_SECONDS


def test_while_redis_is_away_nobody_is_turned_away(own_valkey: Valkey, make_link: MakeLink) -> None:
    leases = RedisLeases(make_link(own_valkey))
    assert leases.take(lease(0), 1)
    own_valkey.stop()
    assert leases.take(lease(1), 1)
    leases.renew([lease(0)])
    leases.release(lease(0))


def test_what_an_emptied_redis_lost_counts_again_after_the_next_renewal(
    own_valkey: Valkey, make_link: MakeLink
) -> None:
    leases = RedisLeases(make_link(own_valkey))
    held = [lease(0), lease(1)]
    assert all(leases.take(each, 2) for each in held)
    own_valkey.restart(empty=True)
    leases = RedisLeases(make_link(own_valkey))
    leases.renew(held)
    assert not leases.take(lease(2), 2)
