"""From what a target depends on to the targets: what a change touches is found without looking at the others."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import Generic, TypeVar

from app.model import Target

K = TypeVar("K", bound=Hashable)


class ReverseIndex(Generic[K]):
    """Every method is O(what it is given and what it finds). Not safe for threads: its owner has a lock."""

    def __init__(self) -> None:
        self._targets: dict[K, set[Target]] = {}
        self._keys: dict[Target, Collection[K]] = {}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def put(self, target: Target, keys: Collection[K]) -> None:
        """From now on `target` depends on these, whatever was said of it before."""
        self.drop(target)
        self._keys[target] = keys
        for key in keys:
            self._targets.setdefault(key, set()).add(target)

    def drop(self, target: Target) -> None:
        for key in self._keys.pop(target, ()):
            indexed = self._targets[key]
            indexed.discard(target)
            if not indexed:
                del self._targets[key]

    def find(self, keys: Iterable[K]) -> set[Target]:
        """The targets that depend on one of `keys`."""
        return set().union(*(self._targets.get(key, ()) for key in keys))

    def targets(self) -> Collection[Target]:
        return self._keys.keys()

    def keys(self) -> Collection[K]:
        """Everything that a target depends on."""
        return self._targets.keys()
