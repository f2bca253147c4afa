"""A configuration as a program reads it: one version, never half of another, and what changed between two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from config_client import keys
from config_client.binding import bound
from config_client.document import Document
from config_client.frozen import FrozenDict, frozen

T = TypeVar("T")
D = TypeVar("D")


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot(Mapping[str, Any]):
    """Immutable; any thread. As a mapping its keys are the leaves' paths (`db.pool`, `hosts[0]`)."""

    config: FrozenDict = field(repr=False)
    version: str
    etag: str
    rev: str
    topic: str

    def __getitem__(self, key: str) -> Any:
        return keys.find(self.config, key)

    def __iter__(self) -> Iterator[str]:
        return (keys.text_of(path) for path, _ in keys.leaves(self.config) if path)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        try:
            keys.find(self.config, str(key))
        except KeyError:
            return False
        return True

    @overload
    def get(self, key: str, default: D, *, type: type[T]) -> T | D: ...
    @overload
    def get(self, key: str, *, type: type[T]) -> T | None: ...
    @overload
    def get(self, key: str, default: Any = None) -> Any: ...
    def get(self, key: str, default: Any = None, *, type: Any = None) -> Any:
        """What stands at `key`, as a `type` if one is given; `default` as it is where there is nothing.

        Raises BindingError.
        """
        try:
            value = keys.find(self.config, key)
        except KeyError:
            return default
        return value if type is None else bound(value, type, key)

    def bind(self, key: str, kind: type[T]) -> T:
        """The part at `key` ("" is the whole) as a `kind`. What is not there counts as an empty map.

        Raises BindingError.
        """
        return bound(self.get(key, FrozenDict()), kind, key)


@dataclass(frozen=True, slots=True)
class Change:
    """From one snapshot to the next. `keys` are the paths of the leaves that differ.

    `reverted`: a handler that ran later did not take the configuration, and this one is asked to go back.
    """

    old: Snapshot
    new: Snapshot
    keys: tuple[str, ...]
    reverted: bool = False

    def touches(self, pattern: str) -> bool:
        return any(keys.matches(pattern, key) for key in self.keys)


def snapshot_of(document: Document) -> Snapshot:
    return Snapshot(frozen(document.config), document.version, document.etag, document.rev, document.topic)


def change_between(old: Snapshot, new: Snapshot, *, reverted: bool = False) -> Change:
    return Change(old, new, keys.changed(old.config, new.config), reverted)
