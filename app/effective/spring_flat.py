"""Owns Spring's view of one document: its values under flat keys such as `a.b[0]`."""

from __future__ import annotations

from collections.abc import Iterator

from app.effective.keys import LiteralKey
from app.model import Json, KeyPath, Scalar, Source


def flattened(source: Source) -> Iterator[tuple[str, Scalar, KeyPath]]:
    """(flat key, value, raw path) of every leaf, in the order of the file; a key that comes twice counts the last time.

    Null and an empty list are "", an empty map vanishes, keys that are no texts stand in brackets (`codes[1]`): Spring
    Framework's YamlProcessor. Keys that are dotted or indexed already stay as they are written.
    """
    for key, value in source.values.items():
        yield from leaves(value, _below("", key), (key,))


def leaves(value: Json, key: str, raw: KeyPath = ()) -> Iterator[tuple[str, Scalar, KeyPath]]:
    """The same of what stands at `key`."""
    if isinstance(value, dict):
        for name, child in value.items():
            yield from leaves(child, _below(key, name), (*raw, name))
    elif isinstance(value, list) and value:
        for index, child in enumerate(value):
            yield from leaves(child, f"{key}[{index}]", (*raw, index))
    else:
        yield key, "" if value is None or isinstance(value, list) else value, raw


def _below(key: str, name: str) -> str:
    name = f"[{name}]" if isinstance(name, LiteralKey) else name
    return f"{key}{name}" if not key or name.startswith("[") else f"{key}.{name}"
