"""Owns what becomes of secret references: filled in, masked, left as written, or listed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from app.effective.keys import child_text
from app.effective.limits import (
    MAX_DEPTH,
    Malformed,
    checked_float,
    checked_integer,
    checked_text,
)
from app.model import MASK, Json, Node, Reference, Template


def fill(values: Mapping[str, Node], lookup: Callable[[Reference], Json]) -> dict[str, Json]:
    """The configuration with secrets in it, in one pass: what `lookup` returns is never scanned again.

    A whole value keeps the secret's type; inline, scalars are written as JSON writes them, strings as they are.
    `lookup` is called once per place. Raises ValueError naming the key path (never the value) when a map or list
    stands inline or a secret is nothing that JSON can carry; whatever `lookup` raises passes through. Pure; any thread.
    """

    def resolve(template: Template, at: _Place) -> Json:
        try:
            if len(template.parts) == 1 and isinstance(template.parts[0], Reference):
                return _checked(lookup(template.parts[0]), 0)
            return "".join(part if isinstance(part, str) else _inline(lookup(part)) for part in template.parts)
        except Malformed as exc:
            raise ValueError(f"{_text(at)}: {exc.reason}") from None

    return {key: _rendered(node, (None, key), resolve) for key, node in values.items()}


def mask(values: Mapping[str, Node]) -> dict[str, Json]:
    """The configuration with each leaf that holds a reference replaced by MASK, whole."""
    return {key: _rendered(node, None, lambda _template, _at: MASK) for key, node in values.items()}


def sealed(values: Mapping[str, Node], seal: Callable[[Template], object]) -> dict[str, object]:
    """The configuration with what `seal` makes of each leaf that holds a reference: to compare two, not to send."""
    return {key: _rendered(node, None, lambda template, _at: seal(template)) for key, node in values.items()}


def as_written(values: Mapping[str, Node]) -> dict[str, Json]:
    """The configuration with references as their text."""
    return {key: _rendered(node, None, lambda template, _at: template.text) for key, node in values.items()}


def references(values: Mapping[str, Node]) -> Mapping[Reference, tuple[str, ...]]:
    """Each reference with the key paths that hold it, in the order of the configuration."""
    return places(found for key, node in values.items() for found in _templates(node, (None, key)))


def places(templates: Iterable[tuple[Template, str]]) -> Mapping[Reference, tuple[str, ...]]:
    """The same of Templates with their key paths."""
    found: dict[Reference, dict[str, None]] = {}
    for template, text in templates:
        for reference in template.references:
            found.setdefault(reference, {})[text] = None
    return MappingProxyType({reference: tuple(keys) for reference, keys in found.items()})


#: Where a node stands: what holds it, and its key or index. The text is made only for who must be told.
_Place: TypeAlias = "tuple[_Place, str | int] | None"


def _text(at: _Place) -> str:
    return "" if at is None else child_text(_text(at[0]), at[1])


def _rendered(node: Node, at: _Place, resolve: Callable[[Template, _Place], Any]) -> Any:
    if isinstance(node, dict):
        return {name: _rendered(child, (at, name), resolve) for name, child in node.items()}
    if isinstance(node, list):
        return [_rendered(child, (at, index), resolve) for index, child in enumerate(node)]
    return resolve(node, at) if isinstance(node, Template) else node


def _templates(node: Node, at: _Place) -> Iterator[tuple[Template, str]]:
    if isinstance(node, dict):
        for name, child in node.items():
            yield from _templates(child, (at, name))
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from _templates(child, (at, index))
    elif isinstance(node, Template):
        yield node, _text(at)


def _inline(value: Json) -> str:
    if isinstance(value, dict | list):
        raise Malformed("a secret that is a map or list cannot stand inside a text")
    _checked(value, 0)
    return value if isinstance(value, str) else json.dumps(value)


def _checked(value: Json, depth: int) -> Json:
    """A fresh copy of a secret's value, so that no caller can change the cached one."""
    if depth > MAX_DEPTH:
        raise Malformed(f"a secret is nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        return {checked_text(name): _checked(child, depth + 1) for name, child in value.items()}
    if isinstance(value, list):
        return [_checked(child, depth + 1) for child in value]
    if isinstance(value, str):
        return checked_text(value)
    if isinstance(value, float):
        return checked_float(value)
    return value if value is None or isinstance(value, bool) else checked_integer(value)
