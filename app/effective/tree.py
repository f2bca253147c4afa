"""Owns the tree that every parser builds: nested nodes with their positions, bounded in depth and number."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TypeAlias

from app.effective.keys import shown
from app.effective.limits import MAX_DEPTH, Budget, Malformed, checked_text
from app.model import Json, KeyPath, Scalar

#: Line and column, from 1.
Mark: TypeAlias = tuple[int, int]


@dataclass(slots=True)
class Parsed:
    """A node as it stands in a file. `weight` and `height` count the nodes and levels in it, aliases in full."""

    value: Scalar | dict[str, Parsed] | list[Parsed]
    mark: Mark
    weight: int = 1
    height: int = 0


@dataclass(slots=True)
class Frame:
    """A collection that is still open: the key that waits for its value, and maps to be merged in."""

    node: Parsed
    key: str | None = None
    merged: list[Parsed] = field(default_factory=list)


class TreeBuilder:
    """Takes what a parser sees, in order, and gives the root node. Not thread-safe; one per document."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._frames: list[Frame] = []
        self.root: Parsed | None = None

    @property
    def expects_key(self) -> bool:
        return bool(self._frames) and self._frames[-1].key is None and isinstance(self._frames[-1].node.value, dict)

    def open(self, value: dict[str, Parsed] | list[Parsed], mark: Mark) -> None:
        """Begin a map ({}) or a list ([])."""
        if len(self._frames) >= MAX_DEPTH:
            raise Malformed(f"nested deeper than {MAX_DEPTH}", mark[0])
        self._budget.spend(1, mark[0])
        self._frames.append(Frame(Parsed(value, mark)))

    def key(self, key: str, mark: Mark) -> None:
        self._budget.spend(1, mark[0])
        entries = self._frames[-1].node.value
        if isinstance(entries, dict) and key in entries:
            raise Malformed(f"duplicate key {shown(key)}", mark[0])
        self._frames[-1].key = key

    def scalar(self, value: Scalar, mark: Mark) -> Parsed:
        self._budget.spend(1, mark[0])
        node = Parsed(value, mark)
        self.attach(node)
        return node

    def close(self) -> Parsed:
        node = self._frames.pop().node
        self.attach(node)
        return node

    def attach(self, node: Parsed) -> None:
        """Put a finished node where it belongs."""
        if len(self._frames) + node.height > MAX_DEPTH:
            raise Malformed(f"nested deeper than {MAX_DEPTH}", node.mark[0])
        if not self._frames:
            self.root = node
            return
        frame = self._frames[-1]
        frame.node.weight += node.weight
        frame.node.height = max(frame.node.height, node.height + 1)
        if isinstance(frame.node.value, list):
            frame.node.value.append(node)
        elif isinstance(frame.node.value, dict) and frame.key is not None:
            frame.node.value[frame.key] = node
            frame.key = None


def unfold(root: Parsed) -> tuple[dict[str, Json], dict[KeyPath, Mark]]:
    """The raw values of a document, and the position of each leaf (scalars, empty maps, empty lists).

    A top-level list or scalar becomes {"document": ...}, as in Spring's YamlProcessor.
    """
    positions: dict[KeyPath, Mark] = {}
    if isinstance(root.value, dict):
        return {_text(key, node.mark): _unfold(node, (key,), positions) for key, node in root.value.items()}, positions
    return {"document": _unfold(root, ("document",), positions)}, positions


def _unfold(node: Parsed, path: KeyPath, positions: dict[KeyPath, Mark]) -> Json:
    value = node.value
    if isinstance(value, dict) and value:
        return {_text(key, child.mark): _unfold(child, (*path, key), positions) for key, child in value.items()}
    if isinstance(value, list) and value:
        return [_unfold(child, (*path, index), positions) for index, child in enumerate(value)]
    positions[path] = node.mark
    if isinstance(value, str):
        return _text(value, node.mark)
    if isinstance(value, dict):
        return {}
    if isinstance(value, list):
        return []
    return value


def _text(text: str, mark: Mark) -> str:
    try:
        return checked_text(text)
    except Malformed as exc:
        raise Malformed(exc.reason, mark[0]) from None


class Lines:
    """Turns offsets in a text into line and column."""

    def __init__(self, text: str) -> None:
        self._starts = [0]
        start = text.find("\n")
        while start >= 0:
            self._starts.append(start + 1)
            start = text.find("\n", start + 1)

    def mark(self, offset: int) -> Mark:
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1
