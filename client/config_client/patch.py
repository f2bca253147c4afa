"""Applying a JSON Patch of cfg.v1: add, remove, replace (RFC 6902); lists are replaced whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def applied(document: Any, operations: Iterable[Mapping[str, Any]]) -> Any:
    """The patched document; the given one is left as it is. Raises ValueError when an operation does not fit."""
    for operation in operations:
        steps = [step.replace("~1", "/").replace("~0", "~") for step in operation["path"].split("/")[1:]]
        document = _with(document, steps, operation)
    return document


def _with(node: Any, steps: list[str], operation: Mapping[str, Any]) -> Any:
    """A copy of the maps on the way, so that what others hold of the former document stays."""
    kind = operation["op"]
    if not steps:
        if kind == "remove":
            raise ValueError("a patch removes the document")
        return operation["value"]
    name, rest = steps[0], steps[1:]
    if isinstance(node, list):
        place = int(name)
        if not 0 <= place < len(node):
            raise ValueError("a patch leads past a list's end")
        copy = list(node)
        if not rest and kind == "remove":
            del copy[place]
        else:
            copy[place] = _with(node[place], rest, operation)
        return copy
    if not isinstance(node, dict) or (name not in node and (rest or kind != "add")):
        raise ValueError("a patch leads nowhere")
    if not rest and kind == "remove":
        return {key: value for key, value in node.items() if key != name}
    return {**node, name: _with(node.get(name), rest, operation)}
