"""Owns setting and unsetting a key path in nested maps and lists, however the path is spelled there.

`db.pool` may stand as `db: {pool: 5}`, as `db.pool: 5`, or as a mix: all spellings are found, and a new key is written
as its neighbours are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, MutableSequence
from typing import Any, TypeAlias

from app.effective.keys import child_text, key_text, parse_key, shown
from app.model import Json, KeyPath

Container: TypeAlias = "MutableMapping[str, Any] | MutableSequence[Any]"
#: How a new map key is written.
Spell: TypeAlias = Callable[[str], str]


class EditRefused(ValueError):
    """The edit cannot be made in this file. `str(error)` is the reason; it quotes key names and no values."""


def as_key(segment: str) -> str:
    """A segment as files spell it: `["x.y"]` for what a dot or bracket would split."""
    return child_text("", segment)


def path_of(key: str) -> KeyPath:
    """The expanded path that a raw key of a map stands for."""
    try:
        path = parse_key(key)
    except ValueError:
        return (str(key),)
    return path if isinstance(path[0], str) else (str(key),)


def put(container: Container, path: KeyPath, value: Json, spell: Spell = as_key) -> None:
    """Set what stands at `path`, in the place where it stands. Raises EditRefused."""
    _drop_below(container, path)
    _put(container, path, value, spell)


def drop(container: Container, path: KeyPath) -> None:
    """Remove all that stands at or below `path`, and maps and lists that become empty. Raises EditRefused."""
    if not _drop(container, path):
        raise EditRefused(f"{shown(key_text(path))} is not in this file")


def at(container: Any, path: KeyPath) -> Iterator[tuple[str | int, KeyPath]]:
    """The keys (or the index) of `container` on the way to `path`, each with what is left of the path behind it."""
    if isinstance(container, MutableMapping):
        for key in container:
            raw = path_of(key)
            if raw == path[: len(raw)]:
                yield key, path[len(raw) :]
    elif isinstance(container, MutableSequence) and isinstance(path[0], int) and path[0] < len(container):
        yield path[0], path[1:]


def _put(container: Any, path: KeyPath, value: Json, spell: Spell) -> None:
    ways = sorted(at(container, path), key=lambda way: len(way[1]))
    for key, rest in ways:
        if not rest:
            container[key] = value
            return
        if isinstance(container[key], MutableMapping | MutableSequence):
            _put(container[key], rest, value, spell)
            return
    if ways:
        raise EditRefused(f"{shown(key_text(path))}: what stands above it is a single value")
    _add(container, path, value, spell)


def _add(container: Any, path: KeyPath, value: Json, spell: Spell) -> None:
    first = path[0]
    if isinstance(container, MutableMapping) and isinstance(first, str):
        key, below = new_key(list(container), path, spell)
        container[key] = nested(below, value, spell)
    elif isinstance(container, MutableSequence) and first == len(container):
        container.append(nested(path[1:], value, spell))
    else:
        raise EditRefused(f"{shown(key_text(path))}: a list is given by index without holes, a map by names")


def new_key(neighbours: list[str], path: KeyPath, spell: Spell) -> tuple[str, KeyPath]:
    """How a key that is not there yet is written beside its neighbours: (raw key, what is nested below it)."""
    dotted = any(len(raw) > 1 and raw[0] == path[0] for raw in map(path_of, neighbours))
    return (key_text(path), ()) if dotted else (spell(str(path[0])), path[1:])


def nested(path: KeyPath, value: Json, spell: Spell) -> Json:
    for segment in reversed(path):
        if segment == 0:
            value = [value]
        elif isinstance(segment, str):
            value = {spell(segment): value}
        else:
            raise EditRefused(f"{shown(key_text(path))}: a list must have no holes")
    return value


def _drop_below(container: Any, path: KeyPath) -> None:
    """Remove the spellings that reach below `path`, as what is set replaces them."""
    if isinstance(container, MutableMapping):
        for key in [key for key in container if _is_below(path_of(key), path)]:
            del container[key]
    for key, rest in list(at(container, path)):
        if rest:
            _drop_below(container[key], rest)


def _is_below(raw: KeyPath, path: KeyPath) -> bool:
    return len(raw) > len(path) and raw[: len(path)] == path


def _drop(container: Any, path: KeyPath) -> bool:
    found = False
    if isinstance(container, MutableMapping):
        for key in [key for key in container if path_of(key)[: len(path)] == path]:
            del container[key]
            found = True
    for key, rest in list(at(container, path)):
        if not rest:
            del container[key]
            found = True
        elif _drop(container[key], rest):
            found = True
            if not container[key] and isinstance(container, MutableMapping):
                del container[key]
    return found
