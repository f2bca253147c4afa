"""When a fetch is asked for: once for many words, and until what was announced is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from app.errors import BusUnavailable, RepositoryUnavailable
from app.hooks import Announced, Arrivals, Word
from tests.support import eventually

COMMIT = Announced("main", "a" * 40)


class Host:
    """What a fetch brings, and what is shared with other workers."""

    def __init__(self) -> None:
        self.hints: list[float] = []
        self.there: set[Announced] = set()
        self.claimed: set[str] = set()
        self.failing = False
        self.slow = threading.Event()
        self.slow.set()

    def hint(self) -> None:
        self.hints.append(time.monotonic())
        self.slow.wait()

    def is_there(self, said: Announced) -> bool:
        if self.failing:
            raise RepositoryUnavailable("away")
        return said in self.there

    def first(self, name: str) -> bool:
        if self.failing:
            raise BusUnavailable("away")
        is_new = name not in self.claimed
        self.claimed.add(name)
        return is_new

    def arrivals(self, *retries: float, window: float = 60, clock: Callable[[], float] = time.monotonic) -> Arrivals:
        return Arrivals(self.hint, self.is_there, self.first, retries=retries, window=window, clock=clock)


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def arrivals(host: Host) -> Iterator[Arrivals]:
    with closing(host.arrivals(0.05, 0.1, 0.1, 0.1)) as made:
        made.start()
        yield made


def dated(*announced: Announced) -> Word:
    return Word(announced, is_dated=True)


def test_a_thousand_words_are_few_fetches(host: Host, arrivals: Arrivals) -> None:
    host.slow.clear()
    for number in range(1000):
        assert arrivals.heard(b"%d" % number, dated())
    host.slow.set()
    eventually(lambda: host.hints)
    with closing(host.arrivals()) as last:  # its own thread has had a turn: so has the other
        last.start()
        last.heard(b"end", dated())
        eventually(lambda: len(host.claimed) == 1001)
    assert len(host.hints) <= 4


def test_the_same_word_counts_once_within_the_window(host: Host) -> None:
    now = [100.0]
    with closing(host.arrivals(window=60, clock=lambda: now[0])) as arrivals:
        arrivals.start()
        assert arrivals.heard(b"x", dated())
        now[0] += 59
        assert not arrivals.heard(b"x", dated())
        now[0] += 2
        assert arrivals.heard(b"x", dated())


def test_a_script_may_say_the_same_again(host: Host, arrivals: Arrivals) -> None:
    for count in (1, 2, 3):
        assert arrivals.heard(b"x", Word())
        eventually(lambda count=count: len(host.hints) == count)  # type: ignore[misc]


def test_a_word_that_another_worker_has_heard_does_nothing_here(host: Host) -> None:
    with closing(host.arrivals()) as one, closing(host.arrivals()) as other:
        one.start()
        one.heard(b"x", dated())
        eventually(lambda: len(host.hints) == 1)
        other.start()
        assert other.heard(b"x", dated())
        other.heard(b"y", dated())
        eventually(lambda: len(host.claimed) == 2)
        eventually(lambda: len(host.hints) == 2)


def test_what_was_announced_is_fetched_for_until_it_is_there(host: Host, arrivals: Arrivals) -> None:
    arrivals.heard(b"x", dated(COMMIT))
    eventually(lambda: len(host.hints) >= 3)
    host.there.add(COMMIT)
    quiet = len(host.hints) + 1  # one may be under way
    arrivals.heard(b"y", dated())
    eventually(lambda: len(host.hints) >= quiet)
    assert len(host.hints) <= quiet + 1


def test_what_never_comes_is_given_up(host: Host, arrivals: Arrivals) -> None:
    arrivals.heard(b"x", dated(COMMIT))
    eventually(lambda: len(host.hints) == 5)  # the word's own, and one for each retry but the last look
    arrivals.heard(b"y", dated())
    eventually(lambda: len(host.hints) == 6)


def test_while_git_and_redis_are_away_it_goes_on_trying(host: Host, arrivals: Arrivals) -> None:
    host.failing = True
    arrivals.heard(b"x", dated(COMMIT))
    eventually(lambda: len(host.hints) >= 3)
