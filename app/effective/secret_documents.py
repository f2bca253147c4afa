"""Owns whole secret documents as sources: their keys, with references where their values would stand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from app.effective.references import HeldText
from app.model import Json, KeyPath, Reference, SecretPath, Source


@dataclass(frozen=True, slots=True)
class Documents:
    """Sources above the files and below them, strongest first. `key` tells apart what they would fold into."""

    above: tuple[Source, ...] = ()
    below: tuple[Source, ...] = ()
    key: str = ""


NO_DOCUMENTS = Documents()


def secret_source(name: str, path: SecretPath, data: Mapping[str, Json]) -> Source:
    """The document as a file that refers to its own values one by one; no value is in it. `name` is its origins' path.

    Dotted and indexed keys mean what they mean in a file.
    """
    values = {key: _held(path, key, (), value) for key, value in data.items()}
    return Source(name, 0, MappingProxyType(values), MappingProxyType({}))


def documents_of(above: tuple[Source, ...], below: tuple[Source, ...]) -> Documents:
    if not above and not below:
        return NO_DOCUMENTS
    shapes = [[[each.path, _shape(cast("Json", dict(each.values)))] for each in sources] for sources in (above, below)]
    return Documents(above, below, hashlib.sha256(json.dumps(shapes).encode()).hexdigest())


def _held(path: SecretPath, key: str, inside: KeyPath, value: Json) -> Json:
    if isinstance(value, dict) and value:
        return {name: _held(path, key, (*inside, name), child) for name, child in value.items()}
    if isinstance(value, list) and value:
        return [_held(path, key, (*inside, index), child) for index, child in enumerate(value)]
    if isinstance(value, dict | list):
        return value
    text = f"${{vault:{path}#{json.dumps([key, *inside])}}}"
    return HeldText(Reference(path.alias, path.path, key, None, text, inside))


def _shape(value: Json) -> Json:
    """What stands where, and of leaves which they are: a reference is told by its text."""
    if isinstance(value, dict):
        return [[str(name), _shape(child)] for name, child in value.items()]
    if isinstance(value, list):
        return {"items": [_shape(child) for child in value]}
    return value.reference.text if isinstance(value, HeldText) else value
