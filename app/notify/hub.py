"""Who listens to what in this worker, and the one wake-up each of them waits for."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from app.model import Target


class Waker(Protocol):
    """A threading.Event, or what is woken like one."""

    def set(self) -> None: ...


#: Guards what subscribers have still to look at. One for all: it is held for a moment, and each of its own would cost.
_marks = threading.Lock()


class Subscriber:
    """One listener: the topics that moved since it last looked, and its wake-up. Conflated, never a queue."""

    __slots__ = ("_dirty", "wake")

    def __init__(self, wake: Waker) -> None:
        self.wake = wake
        self._dirty: set[Target] = set()

    def mark(self, targets: Iterable[Target]) -> None:
        """All that moved in one revision, at once: it is told as one."""
        with _marks:
            self._dirty.update(targets)
        self.wake.set()

    def take(self) -> Collection[Target]:
        """What moved since the last call. A mark that comes in between is in this answer or in the next one."""
        if not self._dirty:
            return ()
        with _marks:
            taken, self._dirty = self._dirty, set()
        return taken


class ConfigChangeNotifier:
    """Topics and their subscribers. Safe for threads and greenlets; every method is O(what it is given)."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._subscribers: dict[Target, set[Subscriber]] = {}
        self._inputs: dict[tuple[str, str], set[Target]] = {}
        self._paths: dict[Target, tuple[str, ...]] = {}
        self._everyone: set[Subscriber] = set()
        self._lock = threading.Lock()  # guards the four maps above
        self.draining = False
        self.leaving_now = False

    def __len__(self) -> int:
        return len(self._everyone)

    def join(self, subscriber: Subscriber) -> bool:
        """Take a place. False when the worker is full or going away."""
        with self._lock:
            if self.draining or len(self._everyone) >= self.capacity:
                return False
            self._everyone.add(subscriber)
            return True

    def leave(self, subscriber: Subscriber, targets: Iterable[Target]) -> None:
        """Give the place back, with all that it subscribed to."""
        self.unsubscribe(subscriber, targets)
        with self._lock:
            self._everyone.discard(subscriber)

    def subscribe(self, subscriber: Subscriber, target: Target, inputs: Sequence[str]) -> None:
        """From now on `subscriber` is marked when one of `inputs` moves on the label: paths, absent ones too."""
        with self._lock:
            if target not in self._subscribers:
                self._subscribers[target] = set()
                self._paths[target] = tuple(inputs)
                for path in inputs:
                    self._inputs.setdefault((target.label, path), set()).add(target)
            self._subscribers[target].add(subscriber)

    def unsubscribe(self, subscriber: Subscriber, targets: Iterable[Target]) -> None:
        with self._lock:
            for target in targets:
                listeners = self._subscribers.get(target)
                if listeners is not None:
                    listeners.discard(subscriber)
                    if not listeners:
                        self._forget(target)

    def targets(self) -> list[Target]:
        """Every target with a subscriber."""
        with self._lock:
            return list(self._subscribers)

    def affected(self, label: str, paths: Iterable[str]) -> set[Target]:
        """The subscribed targets of which one input is among `paths`: found by index, in O(paths + found)."""
        with self._lock:
            return set().union(*(self._inputs.get((label, path), ()) for path in paths))

    def wake(self, targets: Iterable[Target]) -> int:
        """Mark these topics for all their subscribers; returns how many subscribers were marked."""
        moved: dict[Subscriber, list[Target]] = {}
        with self._lock:
            for target in targets:
                for subscriber in self._subscribers.get(target, ()):
                    moved.setdefault(subscriber, []).append(target)
        for subscriber, its_own in moved.items():
            subscriber.mark(its_own)
        return len(moved)

    def wake_everyone(self) -> None:
        """Let every subscriber look around: something changed that is not about topics (a revocation)."""
        with self._lock:
            everyone = list(self._everyone)
        for subscriber in everyone:
            subscriber.wake.set()

    def drain(self, *, at_once: bool = False) -> None:
        """The worker goes away: nobody may join, and everyone is woken to say goodbye, in turn or `at_once`."""
        with self._lock:
            self.draining = True
            self.leaving_now = self.leaving_now or at_once
            everyone = list(self._everyone)
        for subscriber in everyone:
            subscriber.wake.set()

    def _forget(self, target: Target) -> None:
        del self._subscribers[target]
        for path in self._paths.pop(target):
            indexed = self._inputs[(target.label, path)]
            indexed.discard(target)
            if not indexed:
                del self._inputs[(target.label, path)]
