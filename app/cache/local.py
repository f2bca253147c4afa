"""A bounded map in process memory that forgets what was used longest ago."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LocalCache(Generic[K, V]):
    """At most `capacity` entries, least recently used first out. Safe for threads and greenlets."""

    def __init__(self, capacity: int, *, on_lookup: Callable[[bool], None] = lambda hit: None) -> None:
        self._capacity = capacity
        self._on_lookup = on_lookup
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()  # guards _entries: order and content change together

    def get(self, key: K) -> V | None:
        with self._lock:
            value = self._entries.get(key)
            if value is not None:
                self._entries.move_to_end(key)
        self._on_lookup(value is not None)
        return value

    def put(self, key: K, value: V) -> None:
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            while len(self._entries) > self._capacity:
                self._entries.popitem(last=False)

    def holds(self, key: K) -> bool:
        """Whether it is there; does not count as use."""
        return key in self._entries

    def values(self) -> list[V]:
        """What is held at this moment, least recently used first; does not count as use."""
        with self._lock:
            return list(self._entries.values())

    def names(self) -> list[K]:
        """The same of what they are held under."""
        with self._lock:
            return list(self._entries)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
