"""Owns expanding the dotted and indexed keys of one document to nested maps and lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from app.effective.keys import LiteralKey, key_text, parse_key, shown
from app.effective.limits import MAX_DEPTH, MAX_INDEX, Budget, Malformed
from app.errors import BadConfiguration
from app.model import Json, KeyPath, Origin, Scalar, Source


@dataclass(slots=True)
class Leaf:
    """A scalar of a document, with its origin."""

    value: Scalar
    origin: Origin


@dataclass(slots=True)
class MapTree:
    """A map. `origin` is that of the empty map; one with entries is told by them. `folded` is its folder's own."""

    entries: dict[str, Tree]
    origin: Origin
    folded: object = field(default=None, compare=False, repr=False)


@dataclass(slots=True)
class ListTree:
    items: list[Tree]
    origin: Origin
    folded: object = field(default=None, compare=False, repr=False)


@dataclass(slots=True)
class _Indexed:
    """A list that is given by index (`hosts[0]`), as long as more of it may come."""

    items: dict[int, _Raw]
    origin: Origin


@dataclass(slots=True)
class _Map:
    entries: dict[str, _Raw]
    origin: Origin


Tree: TypeAlias = Leaf | MapTree | ListTree
_Raw: TypeAlias = Leaf | ListTree | _Map | _Indexed


def expand(source: Source) -> MapTree:
    """The document as nested maps and lists, leaves with origins.

    `a.b`, `a: {b: ...}` and `a["b"]` are one key: given twice it is an error. A key that is no key path (`a..b`) is
    taken literally. A scalar beside keys below it (`log: WARN`, `log.db: INFO`) keeps both, the longer one as a
    compound key (`log: WARN`, `["log.db"]: INFO`), as Spring Cloud Config writes such pairs.
    Raises BadConfiguration for duplicates, holes in lists, and lists that are also maps or scalars.
    """
    try:
        return _Expansion(source).tree()
    except Malformed as exc:
        raise BadConfiguration(source.path, exc.line, exc.reason) from None


def first_origin(tree: Tree) -> Origin:
    """The origin of the first leaf of a tree."""
    while True:
        if isinstance(tree, MapTree) and tree.entries:
            tree = next(iter(tree.entries.values()))
        elif isinstance(tree, ListTree) and tree.items:
            tree = tree.items[0]
        else:
            return tree.origin


class _Expansion:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._start = Origin(source.path, source.document, 1, 1)
        self._budget = Budget()

    def tree(self) -> MapTree:
        root = _Map({}, self._start)
        for key, value in self._source.values.items():
            path = self._path(key)
            if isinstance(path[0], int):
                path = (key,)  # the root is a map; an index has no list to stand in
            node = self._wrap(path[1:], self._build(value, (key,), path))
            self._merge_entry(root, path[0], node, ())
        finished = self._finish(root, ())
        if not isinstance(finished, MapTree):
            raise TypeError("the root of a document is a map")
        return finished

    def _path(self, key: str) -> KeyPath:
        if isinstance(key, LiteralKey):
            return (str(key),)
        if key.count(".") + key.count("[") > 2 * MAX_DEPTH:
            raise Malformed(f"{shown(key)}: nested deeper than {MAX_DEPTH}")
        try:
            return parse_key(key)
        except ValueError:
            return (key,)

    def _build(self, value: Json, raw: KeyPath, at: KeyPath) -> _Raw:
        """The tree of one raw value. `raw` finds its position, `at` is its expanded path."""
        self._budget.spend(1, None)
        if len(at) > MAX_DEPTH:
            raise self._bad(self._origin(raw), f"{shown(key_text(at))}: nested deeper than {MAX_DEPTH}")
        if isinstance(value, dict):
            return self._build_map(value, raw, at)
        if not isinstance(value, list):
            return Leaf(value, self._origin(raw))
        items = [
            self._settle(self._build(item, (*raw, index), (*at, index)), (*at, index))
            for index, item in enumerate(value)
        ]
        return ListTree(items, self._start if value else self._origin(raw))

    def _build_map(self, value: Mapping[str, Json], raw: KeyPath, at: KeyPath) -> _Raw:
        origin = self._start if value else self._origin(raw)
        built: _Map | _Indexed | None = None
        for key, child in value.items():
            path = self._path(key)
            node = self._wrap(path[1:], self._build(child, (*raw, key), (*at, *path)))
            if built is None:
                built = _Indexed({}, origin) if isinstance(path[0], int) else _Map({}, origin)
            self._merge_entry(built, path[0], node, at)
        return built or _Map({}, origin)

    def _wrap(self, path: KeyPath, node: _Raw) -> _Raw:
        self._budget.spend(len(path), None)
        for segment in reversed(path):
            if isinstance(segment, str):
                node = _Map({segment: node}, self._start)
            else:
                node = _Indexed({segment: node}, self._start)
        return node

    def _merge_entry(self, into: _Map | _Indexed, key: str | int, node: _Raw, at: KeyPath) -> None:
        """Put `node` under `key` of `into`, which stands at the path `at`."""
        path = (*at, key)
        if isinstance(into, _Map) and isinstance(key, str):
            present = into.entries.get(key)
            if present is None:
                into.entries[key] = node
            elif not self._merge(present, node, path):
                self._merge_compound(into, key, node, at)
        elif isinstance(into, _Indexed) and isinstance(key, int):
            if key > MAX_INDEX:
                raise self._bad(_origin_of(node), f"{shown(key_text(path))}: an index above {MAX_INDEX}")
            if key not in into.items:
                into.items[key] = node
            elif not self._merge(into.items[key], node, path):
                raise self._conflict(node, path)
        else:
            raise self._conflict(node, at)

    def _merge(self, present: _Raw, node: _Raw, path: KeyPath) -> bool:
        """Merge two maps, or two lists given by index; False when they are not such a pair."""
        if isinstance(present, _Map) and isinstance(node, _Map):
            for key, child in node.entries.items():
                self._merge_entry(present, key, child, path)
            return True
        if isinstance(present, _Indexed) and isinstance(node, _Indexed):
            for index, item in node.items.items():
                self._merge_entry(present, index, item, path)
            return True
        return False

    def _merge_compound(self, into: _Map, key: str, node: _Raw, at: KeyPath) -> None:
        present = into.entries[key]
        scalar, nested = (present, node) if isinstance(present, Leaf) else (node, present)
        if not isinstance(scalar, Leaf) or not isinstance(nested, _Map):
            raise self._conflict(node, (*at, key))
        into.entries[key] = scalar
        for child, below in nested.entries.items():
            self._merge_entry(into, f"{key}.{child}", below, at)

    def _settle(self, node: _Raw, path: KeyPath) -> Tree:
        return self._finish(node, path) if isinstance(node, _Map | _Indexed) else node

    def _finish(self, node: _Map | _Indexed, path: KeyPath) -> Tree:
        if isinstance(node, _Map):
            entries = {key: self._settle(child, (*path, key)) for key, child in node.entries.items()}
            return MapTree(entries, node.origin)
        if len(node.items) != max(node.items) + 1:
            missing = next(index for index in range(len(node.items) + 1) if index not in node.items)
            where = _origin_of(node.items[max(node.items)])
            raise self._bad(where, f"{shown(key_text((*path, missing)))} is missing: a list must have no holes")
        return ListTree([self._settle(node.items[i], (*path, i)) for i in range(len(node.items))], node.origin)

    def _origin(self, raw: KeyPath) -> Origin:
        line, column = self._source.positions.get(raw, (1, 1))
        return Origin(self._source.path, self._source.document, line, column)

    def _conflict(self, node: _Raw, path: KeyPath) -> BadConfiguration:
        return self._bad(_origin_of(node), f"{shown(key_text(path))} is given twice, or as a list and otherwise")

    def _bad(self, origin: Origin, reason: str) -> BadConfiguration:
        return BadConfiguration(origin.path, origin.line, reason)


def _origin_of(node: _Raw) -> Origin:
    """The origin of the first leaf of a node that may still be unfinished."""
    while below := next(_children(node), None):
        if not isinstance(below, MapTree):
            node = below
            continue
        return first_origin(below)
    return node.origin


def _children(node: _Raw) -> Iterator[_Raw | MapTree]:
    if isinstance(node, _Map):
        yield from node.entries.values()
    elif isinstance(node, _Indexed | ListTree):
        yield from node.items.values() if isinstance(node, _Indexed) else node.items
