"""Who listens to what in this worker, and the one wake-up each of them waits for."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from itertools import takewhile
from typing import Protocol

from app.model import SecretPath, Target
from app.notify.index import ReverseIndex


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
        self._numbers: dict[Target, int] = {}
        self._labels: ReverseIndex[str] = ReverseIndex()
        self._paths: ReverseIndex[tuple[str, str]] = ReverseIndex()
        self._secrets: ReverseIndex[SecretPath] = ReverseIndex()
        self._unread: dict[Target, None] = {}
        self._unsure: dict[Target, None] = {}
        self._everyone: set[Subscriber] = set()
        self._number = 0
        self._lock = threading.Lock()  # guards all of the above
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
                self._number += 1
                self._numbers[target] = self._number
                self._labels.put(target, (target.label,))
                self._paths.put(target, [(target.label, path) for path in inputs])
                self._unread[target] = None
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

    def moment(self) -> int:
        """Now, for `since`."""
        return self._number

    def since(self, moment: int) -> list[Target]:
        """The targets that nobody was subscribed to at that moment, and somebody is now."""
        with self._lock:
            return list(takewhile(lambda target: self._numbers[target] > moment, reversed(self._numbers)))

    def labels(self) -> list[str]:
        """Every label that somebody listens to."""
        with self._lock:
            return self._labels.keys()

    def of_label(self, label: str) -> set[Target]:
        with self._lock:
            return self._labels.find((label,))

    def affected(self, label: str, paths: Iterable[str]) -> set[Target]:
        """The subscribed targets of which one input is among `paths`: found by index, in O(paths + found)."""
        with self._lock:
            return self._paths.find((label, path) for path in paths)

    def is_unread(self, target: Target) -> bool:
        """Whether somebody listens to it, and nobody has said which secrets are behind it."""
        return target in self._unread

    def unread(self) -> list[Target]:
        with self._lock:
            return list(self._unread)

    def refer(self, target: Target, secrets: Collection[SecretPath] | None) -> None:
        """These secrets are behind `target` now; None: nobody can say, so every one may be."""
        with self._lock:
            if target in self._subscribers:
                self._unread.pop(target, None)
                self._unsure.pop(target, None)
                self._secrets.put(target, secrets or ())
                if secrets is None:
                    self._unsure[target] = None

    def unsettle(self, targets: Iterable[Target]) -> None:
        """What was said of their secrets may not be so any more: the next look at them tells."""
        with self._lock:
            self._unread.update((target, None) for target in targets if target in self._subscribers)

    def using(self, secrets: Iterable[SecretPath]) -> set[Target]:
        """The subscribed targets with one of `secrets` behind them: found by index, in O(secrets + found)."""
        with self._lock:
            return self._secrets.find(secrets) | self._unsure.keys()

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
        del self._numbers[target]
        for index in (self._labels, self._paths, self._secrets):
            index.drop(target)
        for some in (self._unread, self._unsure):
            some.pop(target, None)
