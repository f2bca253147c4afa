"""Owns the table of output formats, and the look at a part of a document."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from app.effective.env_format import render_env
from app.effective.keys import key_text, parse_key
from app.effective.properties_format import leaves, render_properties
from app.effective.toml_format import render_toml
from app.effective.yaml_format import render_yaml
from app.errors import UnknownKey
from app.model import Json, Scalar


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write a document. `render` returns UTF-8 bytes and may raise Unprocessable (FormatCollision)."""

    name: str
    media_type: str
    render: Callable[[Json], bytes]


def _json(document: Json) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _table(document: Json) -> dict[str, Json]:
    """A part that is no map gets the name that Spring gives it."""
    return document if isinstance(document, dict) else {"document": document}


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        each.name: each
        for each in (
            Format("json", "application/json", _json),
            Format("yaml", "application/yaml", lambda document: render_yaml(document).encode()),
            Format(
                "properties",
                "text/x-java-properties",
                lambda document: render_properties(leaves(_table(document))).encode(),
            ),
            Format("toml", "application/toml", lambda document: render_toml(_table(document)).encode()),
            Format("env", "text/x-env", lambda document: render_env(leaves(_table(document))).encode()),
        )
    }
)


def flatten(document: Mapping[str, Json]) -> dict[str, Scalar]:
    """Key path text to scalar. An empty list is "", an empty map vanishes (as Spring flattens); null stays null."""
    return {key_text(path): value for path, value in leaves(dict(document))}


def subtree(document: Mapping[str, Json], key: str) -> Json:
    """What stands at the key path `key`. Raises UnknownKey when nothing does, or it is no key path."""
    try:
        path = parse_key(key)
    except ValueError:
        raise UnknownKey("this is not a key path") from None
    node: Json = dict(document)
    for segment in path:
        node = _child(node, segment)
    return node


def _child(node: Json, segment: str | int) -> Json:
    match node, segment:
        case dict(), str() if segment in node:
            return node[segment]
        case list(), int() if segment < len(node):
            return node[segment]
        case _:
            raise UnknownKey("nothing stands at this key")
