"""Owns flattening, and the `.properties` format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import javaproperties

from app.effective.keys import key_text
from app.model import Json, KeyPath, Scalar

Leaves: TypeAlias = Iterable[tuple[KeyPath, Scalar]]


def leaves(node: Json, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Scalar]]:
    """The scalars of a tree with their paths. An empty list is "", an empty map vanishes, as Spring flattens."""
    if isinstance(node, dict):
        for key, child in node.items():
            yield from leaves(child, (*path, key))
    elif isinstance(node, list) and node:
        for index, child in enumerate(node):
            yield from leaves(child, (*path, index))
    else:
        yield path, "" if isinstance(node, list) else node


def text_of(value: Scalar) -> str:
    """A scalar as text: strings as they are, null as "", the rest as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)


def render_properties(flat: Leaves) -> str:
    """`key=value` lines as java.util.Properties reads them, whatever charset it assumes: all escapes, pure ASCII."""
    pairs = ((key_text(path), text_of(value)) for path, value in flat)
    return "".join(javaproperties.join_key_value(key, value) + "\n" for key, value in pairs)
