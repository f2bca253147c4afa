"""What the tests of this room share: from files in a mapping to an Effective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from app.effective import candidates, fold, ordered, parse
from app.model import Effective, Json, Node, Target


def effective_of(
    files: Mapping[str, bytes],
    service: str = "pay",
    envs: Sequence[str] = ("prod",),
    search_paths: Sequence[str] = ("",),
) -> Effective:
    """What the engine does, on a mapping instead of a repository."""
    target = Target(service, tuple(envs), "main")
    paths = [candidate.path for candidate in candidates(target, search_paths) if candidate.path in files]
    return fold(ordered([parse(path, files[path]) for path in paths]), target.envs)


def effective_of_yaml(text: str) -> Effective:
    return effective_of({"pay.yml": text.encode()})


def nodes_of(document: Mapping[str, Json]) -> Mapping[str, Node]:
    """A document as values of an Effective; every Json is a Node, though mypy cannot see it inside lists."""
    return cast("Mapping[str, Node]", document)


def typed(value: Json) -> object:
    """The value with its types spelled out, as 1 == 1.0 == True in Python, and keys in order."""
    if isinstance(value, dict):
        return [(key, typed(child)) for key, child in value.items()]
    if isinstance(value, list):
        return [typed(child) for child in value]
    return type(value).__name__, value
