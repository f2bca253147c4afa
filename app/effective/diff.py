"""Owns the difference of two documents as a JSON Patch (RFC 6902)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias, cast

from app.effective.keys import child_text
from app.effective.leaves import leaves
from app.model import Json

Operation: TypeAlias = dict[str, Json]


def patch(
    old: Mapping[str, object], new: Mapping[str, object], written: Mapping[str, Json] | None = None
) -> list[Operation]:
    """The operations (add, remove, replace) that make `new` of `old`, with the values that `written` has in its places.

    `written` is `new` as it is sent: the same (by default), or with something of its own in place of a leaf (a secret,
    where `new` has a mark). Maps are compared key by key, anything else is replaced whole, arrays too: a list of
    configuration has no identity to follow. Types count: 1, 1.0, true and "1" are four values. Empty for equal
    documents; the order of keys is not compared, as JSON objects have none. Linear in both. Pure; any thread.
    """
    return list(_difference(old, new, cast("Json", new if written is None else written), ""))


def _difference(old: object, new: object, written: Json, pointer: str) -> Iterator[Operation]:
    if old is new:
        return
    if isinstance(old, dict) and isinstance(new, dict) and isinstance(written, dict):
        for key in old:
            if key not in new:
                yield {"op": "remove", "path": _child(pointer, key)}
        for key, value in new.items():
            if key in old:
                yield from _difference(old[key], value, written[key], _child(pointer, key))
            else:
                yield {"op": "add", "path": _child(pointer, key), "value": written[key]}
    elif not same(old, new):
        yield {"op": "replace", "path": pointer, "value": written}


def changed_keys(old: Mapping[str, object], new: Mapping[str, object]) -> tuple[str, ...]:
    """The key paths of the leaves that are new, gone, or hold another value, in the order of `new`, then of `old`.

    A leaf is a scalar, or a map or list that is empty; the document itself is none. Types count, as in `patch`. Pure;
    any thread.
    """
    found = _changed(cast("dict[str, object]", old), cast("dict[str, object]", new), "")
    return tuple(dict.fromkeys(filter(None, found)))


def _changed(old: object, new: object, key: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict) and old and new:
        names = [*new, *(name for name in old if name not in new)]
        yield from _below(names, old, new, key)
    elif isinstance(old, list) and isinstance(new, list) and old and new:
        sides = dict(enumerate(old)), dict(enumerate(new))
        yield from _below(range(max(len(old), len(new))), *sides, key)
    elif not same(old, new):
        yield from (name for side in (new, old) for name, _ in leaves(side, key))


def _below(names: Iterable[Any], old: dict[Any, object], new: dict[Any, object], key: str) -> Iterator[str]:
    for name in names:
        if name in old and name in new:
            if old[name] is not new[name]:
                yield from _changed(old[name], new[name], child_text(key, name))
        else:
            yield from (leaf for leaf, _ in leaves(new[name] if name in new else old[name], child_text(key, name)))


def same(old: object, new: object) -> bool:
    """Whether two values are the same JSON, type for type; Python alone would take true for 1 and 1.0 for 1."""
    if old is new:
        return True
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(same(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same, old, new))
    return type(old) is type(new) and old == new


def _child(pointer: str, key: str) -> str:
    """RFC 6901: `~` and `/` are escaped."""
    return f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
