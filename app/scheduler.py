"""The thread that pulls: one per host does the work, under a lock; the others stand by to take over."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

log = logging.getLogger(__name__)


#: How long closing waits for the tick under way, in seconds.
CLOSE_SECONDS = 5.0


class Outcome(StrEnum):
    """How a tick ended, which decides when the next one comes."""

    MOVED = "moved"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    SUSPECT = "suspect"  # a rewritten head, to be looked at once more soon
    AGAIN = "again"  # somebody else was faster: at once


#: How often in a row a tick may be repeated at once; what goes on losing after that is no race but a fault.
RACES = 3
#: How often a suspect is looked at while it is not certain: the last look comes soon after `confirm_after` then,
#: whatever words came in between.
SUSPICIONS = 4


class Lock(Protocol):
    """Held by one process of a host."""

    def acquire(self) -> bool: ...

    def release(self) -> None: ...

    def heartbeat(self) -> None: ...


class Held(Protocol):
    """Tells whether this process holds a lock."""

    @property
    def held(self) -> bool: ...


class Beside:
    """A lock that is to be had only where another is held, and is lost with it."""

    def __init__(self, other: Held, lock: Lock) -> None:
        self._other = other
        self._lock = lock

    def acquire(self) -> bool:
        return self._other.held and self._lock.acquire()

    def release(self) -> None:
        self._lock.release()

    def heartbeat(self) -> None:
        """Raises RuntimeError when the other lock is another process's by now."""
        if not self._other.held:
            raise RuntimeError("the configuration repository is pulled by another process")
        self._lock.heartbeat()


class Scheduler:
    """Runs `tick` every `interval` seconds +-10 %, sooner when woken, from `retry_first` on doubling while it fails.

    `hinted` is polled every `look` seconds and grows when somebody on this host asks for a tick. After a hint that
    brought nothing, `hint_retries` (seconds) are tried before the ordinary interval. `tick` knows nothing of this.
    """

    def __init__(
        self,
        tick: Callable[[], Outcome],
        lock: Lock,
        *,
        hinted: Callable[[], int],
        interval: float,
        look: float,
        retry_first: float,
        hint_retries: Sequence[float],
        confirm_after: float,
        lock_retry: float,
        on_takeover: Callable[[], None] = lambda: None,
        on_tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._tick = tick
        self._lock = lock
        self._hinted = hinted
        self._interval = interval
        self._look = look
        self._retry_first = retry_first
        self._hint_retries = tuple(hint_retries)
        self._confirm_after = confirm_after
        self._lock_retry = lock_retry
        self._on_takeover = on_takeover
        self._on_tick = on_tick
        self._poked = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._leave_by = 0.0
        self._failures = 0
        self._retries: list[float] = []
        self.is_puller = False

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Begin to close: of several who are closed one after the other, all wait at the same time."""
        if not self._stop.is_set():
            self._leave_by = time.monotonic() + CLOSE_SECONDS
            self._stop.set()
            self._poked.set()

    def close(self) -> None:
        """Stop after the tick under way, and give the lock to another worker.

        A tick that takes longer (a first clone) ends with the process; who takes over ends what it left running.
        """
        self.stop()
        if self._thread:
            self._thread.join(max(0.0, self._leave_by - time.monotonic()))

    def wake(self) -> None:
        """Tick soon. Costs nothing in a worker that stands by: the puller hears the same word."""
        self._poked.set()

    def delay_after(self, outcome: Outcome) -> float:
        """Seconds until the next tick, if nobody asks for one before. Counts failures and retries; else pure."""
        self._failures = self._failures + 1 if outcome in {Outcome.FAILED, Outcome.AGAIN} else 0
        if outcome is Outcome.AGAIN and self._failures <= RACES:
            return 0.0
        if outcome is Outcome.SUSPECT:
            return min(self._confirm_after / SUSPICIONS, self._interval)
        if self._failures:
            ceiling: float = min(self._interval, self._retry_first * 2.0 ** min(self._failures - 1, 16))
            return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        if outcome is Outcome.UNCHANGED and self._retries:
            return self._retries.pop(0)
        self._retries = []
        return self._interval * random.uniform(0.9, 1.1)  # noqa: S311 - as above

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._stand_by()
                self._stop.wait(self._lock_retry)
        finally:
            self._lock.release()

    def _stand_by(self) -> None:
        """Pull if nobody else does. Whatever goes wrong beside the tick gives the lock to another worker."""
        try:
            if self._lock.acquire():
                self._pull_until_stopped()
        except Exception:  # a full disk or a clean-up that fails must not end the thread; it is logged with its stack
            log.exception("scheduler.failed")
            self._lock.release()
        finally:
            self.is_puller = False

    def _pull_until_stopped(self) -> None:
        self.is_puller = True
        self._on_takeover()
        hint = self._hinted()
        while not self._stop.is_set():
            self._heartbeat()
            delay = self.delay_after(self._safely())
            self._on_tick()
            asked = self._wait(delay, hint)
            if asked:
                hint = self._hinted()
                self._retries = list(self._hint_retries)

    def _heartbeat(self) -> None:
        try:
            self._lock.heartbeat()
        except OSError:  # it is for the status page; who holds the lock is the kernel's knowledge
            log.warning("scheduler.heartbeat_failed", exc_info=True)

    def _safely(self) -> Outcome:
        try:
            return self._tick()
        except Exception:  # the loop must outlive whatever a tick did not foresee; it is logged with its stack
            log.exception("scheduler.tick_failed")
            return Outcome.FAILED

    def _wait(self, delay: float, hint: int) -> bool:
        """Wait for the time to pass or for a word. True when somebody asked."""
        deadline = time.monotonic() + delay
        while not self._stop.is_set() and (remaining := deadline - time.monotonic()) > 0:
            if self._poked.wait(min(remaining, self._look)) or self._hinted() != hint:
                self._poked.clear()
                return True
        return False
