"""When Vault may be asked."""

from __future__ import annotations

from app.secrets import Breaker
from tests.secrets.fakes import Clock


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(failures=3, open_seconds=5, clock=clock)
    for _ in range(3):
        assert breaker.allow()
        breaker.failed()
    return breaker


def test_failures_in_a_row_open_it_and_a_success_between_does_not() -> None:
    breaker = Breaker(failures=3, clock=Clock())
    for outcome in (breaker.failed, breaker.failed, breaker.succeeded, breaker.failed, breaker.failed):
        outcome()
    assert breaker.allow()
    assert breaker.state == "closed"
    breaker.failed()
    assert not breaker.allow()
    assert breaker.state == "open"


def test_after_the_pause_one_caller_probes_and_its_success_closes_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.advance(4.9)
    assert not breaker.allow()
    clock.advance(0.1)
    assert breaker.state == "half-open"
    assert [breaker.allow() for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert breaker.state == "closed"
    assert breaker.allow()


def test_failed_probe_opens_it_again_for_the_whole_pause() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.advance(5)
    assert breaker.allow()
    breaker.failed()
    clock.advance(4.9)
    assert not breaker.allow()
    clock.advance(0.1)
    assert breaker.allow()


def test_abandoned_probe_leaves_room_for_another() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.advance(5)
    assert breaker.allow()
    breaker.abandoned()
    assert breaker.allow()


def test_retry_after_is_the_rest_of_the_pause_and_at_least_a_second() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.advance(2)
    assert breaker.retry_after == 3
    clock.advance(2.9)
    assert breaker.retry_after == 1
