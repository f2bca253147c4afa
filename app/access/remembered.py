"""Tokens that were verified a moment ago, by their hash."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from app.model import Principal


@dataclass(frozen=True, slots=True)
class _Entry:
    principal: Principal
    since: float
    until: float


class RememberedTokens:
    """At most `capacity` principals, least recently used first out, each until its time. Thread-safe.

    Keyed by a digest, so that a dump of the memory holds no token that could be used.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._lock = threading.Lock()  # guards _entries: order and content change together

    def get(self, digest: bytes, now: float) -> Principal | None:
        """`now` is Unix seconds. A clock that was set back forgets too, rather than remember for longer."""
        with self._lock:
            entry = self._entries.get(digest)
            if entry is None:
                return None
            if not entry.since <= now < entry.until:
                del self._entries[digest]
                return None
            self._entries.move_to_end(digest)
            return entry.principal

    def peek(self, digest: bytes, now: float) -> Principal | None:
        """The same, but it does not count as use, nor wait for the lock: for who asks with every request."""
        entry = self._entries.get(digest)
        return entry.principal if entry is not None and entry.since <= now < entry.until else None

    def put(self, digest: bytes, principal: Principal, *, now: float, until: float) -> None:
        if until <= now or self._capacity < 1:
            return
        with self._lock:
            self._entries[digest] = _Entry(principal, now, until)
            self._entries.move_to_end(digest)
            while len(self._entries) > self._capacity:
                self._entries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._entries)
