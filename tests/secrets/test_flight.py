"""Single flight when the leader does not come home."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.secrets.flight import SingleFlight
from tests.support import eventually


def test_waiters_of_a_killed_leader_try_again_themselves() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    taken_off, killed, second = threading.Event(), threading.Event(), threading.Event()

    def dies() -> str:
        taken_off.set()
        killed.wait(60)
        raise KeyboardInterrupt

    def lands() -> str:
        second.set()
        return "landed"

    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(flights.do, "key", dies)
        assert taken_off.wait(60)
        waiter = pool.submit(flights.do, "key", lands)
        assert not second.wait(0.05)
        killed.set()
        assert waiter.result(60) == "landed"
        with pytest.raises(KeyboardInterrupt):
            leader.result(60)


def test_different_keys_do_not_wait_for_each_other() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    gate, taken_off = threading.Event(), threading.Event()

    def waits() -> str:
        taken_off.set()
        gate.wait(60)
        return "a"

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(flights.do, "a", waits)
        eventually(taken_off.is_set)
        assert flights.do("b", lambda: "b") == "b"
        gate.set()
        assert slow.result(60) == "a"
