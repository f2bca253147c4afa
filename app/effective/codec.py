"""Owns the stored form of an Effective, as the shared cache keeps it: JSON text, lossless."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from app.effective.canonical import tag
from app.effective.fill import references
from app.effective.references import MalformedReference, parse_value
from app.model import Effective, Node, Origin, Reference, Template

#: Raised whenever parsing, expansion, folding or this form changes meaning, so that old entries are never read.
LOADER_VERSION: int = 2


def encode(effective: Effective) -> bytes:
    """The Effective as JSON; holds references, never a secret. `decode` is its inverse. Pure; any thread."""
    files = {path: index for index, path in enumerate(_files(effective))}
    document = {
        "v": LOADER_VERSION,
        "values": {key: tag(node) for key, node in effective.values.items()},
        "files": list(files),
        "origins": {key: _packed(origin, files) for key, origin in effective.origins.items()},
        "overridden": {
            key: [_packed(origin, files) for origin in chain] for key, chain in effective.overridden.items()
        },
        "paths": len(effective.paths),
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def decode(data: bytes) -> Effective:
    """The Effective of `encode`. Raises ValueError for anything else, another LOADER_VERSION included."""
    try:
        document = json.loads(data)
        if document["v"] != LOADER_VERSION:
            raise ValueError("another loader version")
        files = document["files"]
        values: dict[str, Node] = {key: _untagged(node) for key, node in document["values"].items()}
        origins = {key: _unpacked(packed, files) for key, packed in document["origins"].items()}
        overridden = {
            key: tuple(_unpacked(packed, files) for packed in chain) for key, chain in document["overridden"].items()
        }
        paths = tuple(files[: document["paths"]])
    except (KeyError, TypeError, IndexError, AttributeError, RecursionError, ValueError) as exc:
        raise ValueError(f"not an Effective of loader version {LOADER_VERSION}") from exc
    return Effective(
        MappingProxyType(values), MappingProxyType(origins), MappingProxyType(overridden), references(values), paths
    )


def _files(effective: Effective) -> Mapping[str, None]:
    """`paths` first, so that their number is enough to tell them; then whatever else origins name."""
    chains = (origin.path for chain in effective.overridden.values() for origin in chain)
    return dict.fromkeys([*effective.paths, *(origin.path for origin in effective.origins.values()), *chains])


def _packed(origin: Origin, files: Mapping[str, int]) -> list[int]:
    return [files[origin.path], origin.document, origin.line, origin.column]


def _unpacked(packed: Any, files: list[str]) -> Origin:
    file, document, line, column = packed
    return Origin(files[file], document, line, column)


def _untagged(node: Any) -> Node:
    if isinstance(node, dict):
        return {key: _untagged(child) for key, child in node.items()}
    if isinstance(node, list):
        if node[0] == 1:
            return Template(tuple(part if isinstance(part, str) else _reference(part[0]) for part in node[1:]))
        return [_untagged(child) for child in node[1:]]
    if node is None or isinstance(node, str | int | float):
        return node
    raise TypeError("not a node")


def _reference(text: str) -> Reference:
    try:
        parsed = parse_value(text)
    except MalformedReference as exc:
        raise ValueError("not an encoded reference") from exc
    if isinstance(parsed, Template) and len(parsed.parts) == 1 and isinstance(parsed.parts[0], Reference):
        return parsed.parts[0]
    raise ValueError("not an encoded reference")
