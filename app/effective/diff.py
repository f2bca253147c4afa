"""Owns the difference of two documents as a JSON Patch (RFC 6902)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from app.model import Json

Operation: TypeAlias = dict[str, Json]


def patch(old: Json, new: Json) -> list[Operation]:
    """The operations (add, remove, replace) that make `new` of `old`, for documents that are maps.

    Maps are compared key by key, anything else is replaced whole, arrays too: a list of configuration has no identity
    to follow. Types count: 1, 1.0, true and "1" are four values. Empty for equal documents; the order of keys is not
    compared, as JSON objects have none. Linear in both. Pure; any thread.
    """
    return list(_difference(old, new, ""))


def _difference(old: Json, new: Json, pointer: str) -> Iterator[Operation]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old:
            if key not in new:
                yield {"op": "remove", "path": _child(pointer, key)}
        for key, value in new.items():
            if key in old:
                yield from _difference(old[key], value, _child(pointer, key))
            else:
                yield {"op": "add", "path": _child(pointer, key), "value": value}
    elif not same(old, new):
        yield {"op": "replace", "path": pointer, "value": new}


def same(old: Json, new: Json) -> bool:
    """Whether two values are the same JSON, type for type; Python alone would take true for 1 and 1.0 for 1."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(same(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same, old, new))
    return type(old) is type(new) and old == new


def _child(pointer: str, key: str) -> str:
    """RFC 6901: `~` and `/` are escaped."""
    return f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
