"""Who listens to what in this worker, and the one wake-up each of them waits for."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

from app.model import SecretPath, Target
from app.notify.index import ReverseIndex


class Waker(Protocol):
    """A threading.Event, or what is woken like one."""

    def set(self) -> None: ...


#: Revisions that a subscriber may have before it; then they are thrown together.
MANY = 8


class Subscriber:
    """One listener: the topics that moved since it last looked, and its wake-up. Conflated, never a queue.

    Without a lock: what moved in one revision is put in and taken out as one, and each of that is atomic.
    """

    __slots__ = ("_moved", "wake")

    def __init__(self, wake: Waker) -> None:
        self.wake = wake
        self._moved: list[Collection[Target]] = []

    def mark(self, targets: Collection[Target]) -> None:
        """All that moved in one revision, at once: it is told as one."""
        if len(self._moved) >= MANY:
            targets = {*targets, *self.take()}
        self._moved.append(targets)
        self.wake.set()

    def take(self) -> Collection[Target]:
        """What moved since the last call. A mark that comes in between is in this answer or in the next one."""
        taken: Collection[Target] = ()
        while self._moved:
            with suppress(IndexError):  # the marking thread throws some together at this moment
                moved = self._moved.pop()
                taken = {*taken, *moved} if taken else moved
        return taken


@dataclass(frozen=True, slots=True)
class _Topic:
    """A target that somebody listens to; `number` counts those that anybody ever began to listen to."""

    target: Target
    number: int


class ConfigChangeNotifier:
    """Topics and their subscribers. Safe for threads and greenlets; every method is O(what it is given)."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._subscribers: dict[Target, set[Subscriber]] = {}
        self._topics: dict[Target, _Topic] = {}
        self._paths: dict[str, ReverseIndex[str]] = {}
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

    def subscribe(self, subscriber: Subscriber, target: Target, inputs: Sequence[str]) -> Target:
        """From now on `subscriber` is marked when one of `inputs` moves on the label: paths, absent ones too.

        Returns the target as all its subscribers know it: one object, which is found faster than its equals.
        """
        with self._lock:
            if target not in self._subscribers:
                self._subscribers[target] = set()
                self._number += 1
                self._topics[target] = _Topic(target, self._number)
                self._paths.setdefault(target.label, ReverseIndex()).put(target, tuple(inputs))
                self._unread[target] = None
            self._subscribers[target].add(subscriber)
            return self._topics[target].target

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
            new = takewhile(lambda topic: topic.number > moment, reversed(self._topics.values()))
            return [topic.target for topic in new]

    def labels(self) -> list[str]:
        """Every label that somebody listens to."""
        with self._lock:
            return list(self._paths)

    def of_label(self, label: str) -> set[Target]:
        with self._lock:
            return set(self._paths[label].targets()) if label in self._paths else set()

    def affected(self, label: str, paths: Iterable[str]) -> set[Target]:
        """The subscribed targets of which one input is among `paths`: found by index, in O(paths + found)."""
        with self._lock:
            return self._paths[label].find(paths) if label in self._paths else set()

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
        del self._topics[target]
        self._secrets.drop(target)
        for some in (self._unread, self._unsure):
            some.pop(target, None)
        paths = self._paths[target.label]
        paths.drop(target)
        if not paths:
            del self._paths[target.label]
