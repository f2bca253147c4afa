"""Owns folding the Sources of a target into its Effective."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from app.effective.activation import active
from app.effective.expand import Leaf, ListTree, MapTree, Tree, expand, first_origin
from app.effective.fill import places
from app.effective.keys import child_text, shown
from app.effective.placeholders import BadPlaceholder, Placeholders
from app.effective.references import MalformedReference, is_parsed
from app.errors import BadConfiguration
from app.model import Effective, Node, Origin, Scalar, Source, Template


def ordered(files: Sequence[Sequence[Source]]) -> tuple[Source, ...]:
    """Sources from strongest to weakest, of files from strongest to weakest, each as `parse` returned it."""
    return tuple(source for documents in files for source in reversed(documents))


def fold(
    sources: Sequence[Source], envs: Sequence[str], *, expanded: Callable[[Source], MapTree] = expand
) -> Effective:
    """Fold documents, strongest first, for these envs. `expanded` is `expand`, or remembers what it made.

    Documents whose activation does not match are dropped. Maps merge deeply; scalars (null too) and lists replace
    whole; where a map meets anything else, the stronger wins whole. Keys stand in the order in which they appear from
    the weakest document to the strongest, so shared files give the shape and a service's own keys follow.

    A leaf's `overridden` origins are those it hides at its own key; where shapes differ, the first leaf beneath the
    stronger value names the first leaf of what it hides. `paths` names every file given, inactive documents included.
    Raises BadConfiguration. Linear in the size of the documents. Pure; any thread.
    """
    layers: list[Tree] = [expanded(source) for source in sources if is_active(source, envs)]
    fold_ = _Fold()
    values: Mapping[str, Node] = {}
    finished: Mapping[str, Node] = {}
    if layers:
        merged = fold_.merge(layers, "", ())
        finished = fold_.expansions()
        values = _mapping(fold_.settle(merged, finished))
    return Effective(
        MappingProxyType(dict(values)),
        MappingProxyType({key: record.origin for key, record in fold_.records.items()}),
        MappingProxyType({key: record.hidden for key, record in fold_.records.items() if record.hidden}),
        places((node, key) for key, node in finished.items() if isinstance(node, Template)),
        tuple(dict.fromkeys(source.path for source in sources)),
    )


def is_active(source: Source, envs: Sequence[str]) -> bool:
    """Whether a document counts for these envs. Raises BadConfiguration for a malformed expression."""
    if source.activation is None:
        return True
    try:
        return active(source.activation, envs)
    except ValueError as exc:
        raise BadConfiguration(source.path, None, f"spring.config.activate.on-profile: {exc}") from None


def _mapping(node: Node) -> Mapping[str, Node]:
    if not isinstance(node, dict):
        raise TypeError("documents fold into a map")
    return node


@dataclass(frozen=True, slots=True)
class _Record:
    """What is known of one leaf of the outcome. A list or map that is empty has no `value` to refer to."""

    value: Scalar
    origin: Origin
    hidden: tuple[Origin, ...]
    empty: bool = False


@dataclass(frozen=True, slots=True)
class _Alone:
    """What becomes of a subtree that nothing else touches, in whichever fold it takes part; all of them share it.

    `value` is None where it holds texts with placeholders, which other documents may finish otherwise.
    """

    value: dict[str, Node] | list[Node] | None
    records: Mapping[str, _Record]


@dataclass(frozen=True, slots=True)
class _Pending:
    """Stands for a text with placeholders or references, until all leaves are known."""

    key: str


#: The outcome before placeholders are filled.
_Draft = Scalar | _Pending | _Alone | list["_Draft"] | dict[str, "_Draft"]


class _Fold:
    """Collects the leaves while layers are merged. `hidden` is passed down to the first leaf it stands for."""

    def __init__(self) -> None:
        self.records: dict[str, _Record] = {}
        self._pending: list[str] = []

    def merge(self, layers: Sequence[Tree], key: str, hidden: tuple[Origin, ...]) -> _Draft:
        """Fold the values that layers, strongest first, hold at `key`."""
        maps: list[MapTree] = []
        for layer in layers:
            if not isinstance(layer, MapTree):
                break
            maps.append(layer)
        if not maps or (len(layers) == 1 and key):
            return self._take(layers[0], layers[1:], key, hidden)
        hidden += tuple(first_origin(layer) for layer in layers[len(maps) :])
        groups: dict[str, list[Tree]] = {}
        for layer in reversed(maps):
            for name, child in layer.entries.items():
                groups.setdefault(name, []).append(child)
        if not groups and key:
            self.records[key] = _Record(None, maps[0].origin, hidden, empty=True)
        out: dict[str, _Draft] = {}
        for name, children in groups.items():
            out[name] = self.merge(children[::-1], child_text(key, name), hidden)
            hidden = ()
        return out

    def _take(self, top: Tree, below: Sequence[Tree], key: str, hidden: tuple[Origin, ...]) -> _Draft:
        """`top` as it is; what `below` holds at the same keys is overridden."""
        if isinstance(top, MapTree) and top.entries:
            known = None if below or hidden else self._take_alone(top, key)
            return known or self._take_map(top, below, key, hidden)
        if isinstance(top, ListTree) and top.items:
            known = None if below or hidden else self._take_alone(top, key)
            return known or self._take_list(top, below, key, hidden)
        hidden += tuple(first_origin(tree) for tree in below)
        if isinstance(top, Leaf):
            self.records[key] = _Record(top.value, top.origin, hidden)
            if isinstance(top.value, str) and is_parsed(top.value):
                self._pending.append(key)
                return _Pending(key)
            return top.value
        self.records[key] = _Record(None, top.origin, hidden, empty=True)
        return {} if isinstance(top, MapTree) else []

    def _take_alone(self, top: MapTree | ListTree, key: str) -> _Alone | None:
        """The same for all in whose documents nothing else stands there: once per tree, if its texts are finished."""
        if not isinstance(top.folded, _Alone):
            fold_ = _Fold()
            take = fold_._take_map if isinstance(top, MapTree) else fold_._take_list
            draft = take(top, (), key, ())  # type: ignore[arg-type]  # each takes its own kind
            value = None if fold_._pending else fold_.settle(draft, {})
            top.folded = _Alone(value if isinstance(value, dict | list) else None, fold_.records)
        if top.folded.value is None:
            return None
        self.records.update(top.folded.records)
        return top.folded

    def _take_map(self, top: MapTree, below: Sequence[Tree], key: str, hidden: tuple[Origin, ...]) -> _Draft:
        groups: dict[str, list[Tree]] = {}
        for tree in below:
            if isinstance(tree, MapTree) and tree.entries:
                for name, child in tree.entries.items():
                    if name in top.entries:
                        groups.setdefault(name, []).append(child)
            else:
                hidden += (first_origin(tree),)
        out: dict[str, _Draft] = {}
        for name, child in top.entries.items():
            out[name] = self._take(child, groups.get(name, ()), child_text(key, name), hidden)
            hidden = ()
        return out

    def _take_list(self, top: ListTree, below: Sequence[Tree], key: str, hidden: tuple[Origin, ...]) -> _Draft:
        lists = [tree for tree in below if isinstance(tree, ListTree) and tree.items]
        hidden += tuple(first_origin(tree) for tree in below if not (isinstance(tree, ListTree) and tree.items))
        out: list[_Draft] = []
        for index, item in enumerate(top.items):
            lists = [tree for tree in lists if len(tree.items) > index]
            under = [tree.items[index] for tree in lists]
            out.append(self._take(item, under, child_text(key, index), hidden))
            hidden = ()
        return out

    def expansions(self) -> dict[str, Node]:
        """The texts that hold placeholders or references, finished."""
        placeholders = Placeholders({key: record.value for key, record in self.records.items() if not record.empty})
        out: dict[str, Node] = {}
        for key in self._pending:
            try:
                out[key] = placeholders.expand(key)
            except (BadPlaceholder, MalformedReference) as exc:
                origin = self.records[key].origin
                raise BadConfiguration(origin.path, origin.line, f"{shown(key)}: {exc}") from None
        return out

    def settle(self, draft: _Draft, expansions: Mapping[str, Node]) -> Node:
        """The draft with every pending text replaced."""
        if isinstance(draft, dict):
            return {key: self.settle(child, expansions) for key, child in draft.items()}
        if isinstance(draft, list):
            return [self.settle(child, expansions) for child in draft]
        if isinstance(draft, _Alone):
            return draft.value
        return expansions[draft.key] if isinstance(draft, _Pending) else draft
