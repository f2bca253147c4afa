"""Gives turns to streams: to those whose topics moved, whose client said something, or whose time has come."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

from app.streams.sockets import Mutex, Watch

log = logging.getLogger(__name__)

#: How long the turns of one thread may follow on each other before requests are looked after, in seconds.
SLICE = 0.01
#: When no turn has ended for so long (Vault or Redis does not answer), another thread goes on, in seconds.
STUCK = 0.05
MAX_THREADS = 64
NEVER = float("inf")


class State(IntEnum):
    """Of a runner: AGAIN is a turn that goes on while the next is wanted already."""

    IDLE, QUEUED, RUNNING, AGAIN = range(4)


class Runner(Protocol):
    """What takes turns, one at a time. `state` and `timer` belong to the loop."""

    state: State
    timer: float

    def turn(self) -> float | None:
        """Do what can be done without waiting for the client. When to come again at the latest (monotonic seconds)."""

    def touched(self) -> None:
        """Something happened on the socket."""

    def abandon(self) -> None:
        """The worker ends."""


class _Marker:
    """Stands in the queue behind those who wait for a turn, to tell when they have had it."""

    def __init__(self, reached: Callable[[], None]) -> None:
        self.state, self.timer = State.IDLE, NEVER
        self._reached = reached

    def turn(self) -> None:
        self._reached()

    def touched(self) -> None:
        """It has no socket."""

    def abandon(self) -> None:
        """It waits for nobody."""


class StreamLoop:
    """Thread-safe. One thread watches sockets and clock; turns are taken by another, and by more when it is stuck."""

    def __init__(self, on_idle: Callable[[], None]) -> None:
        """`on_idle` is called when all who had something to do have had their turns."""
        self._on_idle = on_idle
        self._lock = Mutex()  # guards all below, and the state of every runner
        self._queue: deque[Runner] = deque()
        self._timers: list[tuple[float, int, Runner]] = []
        self._runners: dict[int, Runner] = {}
        self._threads = self._idle = self._turns = 0
        self._order = itertools.count()
        self._work = threading.Semaphore(0)
        self._closing = False
        self._watch: Watch | None = None
        self._watcher: threading.Thread | None = None

    def start(self) -> None:
        """After the fork, never before."""
        self._watch = Watch()
        self._watcher = threading.Thread(target=self._look_out, args=(self._watch,), name="streams", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Cut what is still there. Nothing is told any more; who drains does so before."""
        with self._lock:
            self._closing = True
            left = list(self._runners.values())
        for runner in left:
            runner.abandon()
        for _ in range(MAX_THREADS):
            self._work.release()
        if self._watcher is not None and self._watch is not None:
            self._watch.wake()
            self._watcher.join()
            self._watch.close()

    def __len__(self) -> int:
        """The connections that are open, those that only wait for the client's end of file too."""
        return len(self._runners)

    def add(self, descriptor: int, runner: Runner) -> None:
        """Take it in, and give it its first turn; abandon it when the kernel has no room to watch it."""
        assert self._watch is not None, "the loop is not started"
        with self._lock:
            self._runners[descriptor] = runner
        try:
            self._watch.add(descriptor)
        except OSError:
            log.exception("stream.not_watched")
            runner.abandon()
            return
        self.schedule(runner)

    def remove(self, descriptor: int) -> None:
        """Before the descriptor is closed: its number may be another's at once."""
        assert self._watch is not None
        self._watch.remove(descriptor)
        with self._lock:
            self._runners.pop(descriptor, None)

    def schedule(self, runner: Runner) -> None:
        """Give it a turn soon; while it has one, another one after it."""
        with self._lock:
            if runner.state is State.RUNNING:
                runner.state = State.AGAIN
            if runner.state is not State.IDLE:
                return
            wake = self._enqueue(runner)
        if wake is not None:
            wake()

    def after_these(self, do: Callable[[], None]) -> None:
        """Call `do` when all who wait for a turn at this moment have had one, or are at it."""
        self.schedule(_Marker(do))

    def _enqueue(self, runner: Runner) -> Callable[[], None] | None:
        """With the lock held. What is to be called after it is given back: nothing that waits may be called before."""
        runner.state = State.QUEUED
        self._queue.append(runner)
        if self._idle:
            self._idle -= 1
            return self._work.release
        if not self._threads:
            self._threads += 1
            return self._hire
        if len(self._queue) == 1 and self._watch is not None:
            return self._watch.wake  # it looks whether anything moves
        return None

    def _hire(self) -> None:
        threading.Thread(target=self._take_turns, name="streams-turns", daemon=True).start()

    # Turns

    def _take_turns(self) -> None:
        pause_at = time.perf_counter() + SLICE
        while (runner := self._next()) is not None:
            due = self._turn(runner)
            self._turned(runner, due)
            if time.perf_counter() > pause_at:
                time.sleep(0)  # others go on; a longer pause (app.aside) lets sockets in sooner, and tells all later
                pause_at = time.perf_counter() + SLICE

    def _turn(self, runner: Runner) -> float | None:
        try:
            return runner.turn()
        except Exception:  # a runner sees to its own failures; one that does not must not end the others
            log.exception("stream.turn_failed")
            return None

    def _next(self) -> Runner | None:
        while not self._closing:
            with self._lock:
                if self._queue:
                    runner = self._queue.popleft()
                    runner.state = State.RUNNING
                    return runner
                waiting = self._idle  # one thread waits already
                self._threads -= waiting
                self._idle += not waiting
            self._on_idle()
            if waiting:
                return None
            self._work.acquire()
        return None

    def _turned(self, runner: Runner, due: float | None) -> None:
        wake = None
        with self._lock:
            self._turns += 1
            again, runner.state = runner.state is State.AGAIN, State.IDLE
            if due is not None and due < runner.timer:
                runner.timer = due
                heapq.heappush(self._timers, (due, next(self._order), runner))
                if self._timers[0][2] is runner and self._watch is not None:
                    wake = self._watch.wake  # it sleeps until a later moment
        if wake is not None:
            wake()
        if again:
            self.schedule(runner)

    # Sockets and clock

    def _look_out(self, watch: Watch) -> None:
        seen = -1
        while not self._closing:
            for descriptor in watch.wait(self._patience()):
                runner = self._runners.get(descriptor)
                if runner is not None:
                    runner.touched()
                    self.schedule(runner)
            seen = self._look_at_the_clock(seen)

    def _patience(self) -> float | None:
        with self._lock:
            until = self._timers[0][0] - time.monotonic() if self._timers else None
            if not self._queue:
                return until
            return STUCK if until is None else min(until, STUCK)

    def _look_at_the_clock(self, seen: int) -> int:
        """Schedule who is due. `seen` turns had ended at the last look: when none has since, a thread more."""
        now, due = time.monotonic(), []
        with self._lock:
            while self._timers and self._timers[0][0] <= now:
                due.append(heapq.heappop(self._timers)[2])
                due[-1].timer = NEVER
            stuck = bool(self._queue) and seen == self._turns and not self._idle and self._threads < MAX_THREADS
            turns, self._threads = self._turns, self._threads + stuck
        if stuck and not self._closing:
            self._hire()
        for runner in due:
            self.schedule(runner)
        return turns
