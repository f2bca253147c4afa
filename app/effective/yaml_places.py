"""Owns where everything stands in a YAML text: the nodes of its documents with their offsets, for editing in place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from app.effective.edit_tree import path_of
from app.effective.keys import LiteralKey
from app.effective.yaml_scalars import resolve
from app.model import KeyPath, Scalar


@dataclass(slots=True)
class Place:
    """A node of the text. `start` and `end` are offsets; those of a block collection span its first to last leaf.

    A flow collection (`{a: 1}`) is one piece of text; so is a scalar. `fixed`: it is an alias, or holds an anchor or an
    alias, so that a change of it would reach elsewhere.
    """

    start: int
    end: int
    kind: str
    flow: bool = False
    fixed: bool = False
    value: Scalar = None
    entries: list[Entry] = field(default_factory=list)
    items: list[Place] = field(default_factory=list)


@dataclass(slots=True)
class Entry:
    """A key of a map with its value; `path` is what the raw key stands for when it is expanded."""

    raw: str
    path: KeyPath
    start: int
    end: int
    place: Place


def documents(text: str) -> Iterator[Place]:
    """The root of each document with content, in order. The text has been through the strict parser before."""
    opened: list[Place] = []
    keys: list[tuple[str, int, int] | None] = []
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            kind = "map" if isinstance(event, yaml.MappingStartEvent) else "list"
            start = _at(event.start_mark)
            opened.append(Place(start, start, kind, bool(event.flow_style), fixed=event.anchor is not None))
            keys.append(None)
        elif isinstance(event, yaml.CollectionEndEvent):
            place = opened.pop()
            keys.pop()
            if place.flow:
                place.end = _at(event.end_mark)
            yield from _finished(place, opened, keys)
        elif isinstance(event, yaml.AliasEvent):
            alias = Place(_at(event.start_mark), _at(event.end_mark), "alias", fixed=True)
            yield from _finished(alias, opened, keys)
        elif isinstance(event, yaml.ScalarEvent):
            yield from _scalar(event, text, opened, keys)


def _at(mark: Any) -> int:
    """libyaml counts characters."""
    return int(mark.index)


def _scalar(
    event: yaml.ScalarEvent, text: str, opened: list[Place], keys: list[tuple[str, int, int] | None]
) -> Iterator[Place]:
    start, end = _at(event.start_mark), _at(event.end_mark)
    value = resolve(event.value) if event.implicit[0] else event.value
    if opened and opened[-1].kind == "map" and keys[-1] is None:
        raw = value if isinstance(value, str) else LiteralKey(json.dumps(value))
        keys[-1] = (raw, start, end)
        return
    end = max(start, start + len(text[start:end].rstrip()))  # a block scalar ends where the next thing begins
    yield from _finished(Place(start, end, "scalar", fixed=event.anchor is not None, value=value), opened, keys)


def _finished(place: Place, opened: list[Place], keys: list[tuple[str, int, int] | None]) -> Iterator[Place]:
    if not opened:
        if place.kind != "scalar" or place.value is not None:
            yield place
        return
    parent, key = opened[-1], keys[-1]
    if parent.kind == "map" and key is not None:
        raw, start, end = key
        parent.entries.append(Entry(raw, path_of(raw), start, end, place))
        keys[-1] = None
    elif parent.kind == "list":
        parent.items.append(place)
    parent.fixed = parent.fixed or (parent.flow and place.fixed)
    if not parent.flow:
        parent.end = max(parent.end, place.end)
