"""Owns the walk over the leaves of a folded configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.effective.keys import child_text
from app.model import Node


def leaf_nodes(values: Mapping[str, Node]) -> Iterator[tuple[str, Node]]:
    """(key path text, value) of every leaf, in order: scalars, Templates, and maps and lists that are empty."""
    for key, node in values.items():
        yield from leaves(node, child_text("", key))


def leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """The same of what stands at `key`; anything but a map or list is a leaf."""
    if isinstance(node, dict) and node:
        for name, child in node.items():
            yield from leaves(child, child_text(key, name))
    elif isinstance(node, list) and node:
        for index, child in enumerate(node):
            yield from leaves(child, child_text(key, index))
    else:
        yield key, node
