"""Owns reading one JSON Schema (2020-12) of the repository: parsed within bounds, held against the metaschema."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, TypeAlias, cast
from urllib.parse import urldefrag, urljoin

import re2
from jsonschema import Draft202012Validator
from jsonschema_specifications import REGISTRY as SPECIFICATIONS
from referencing.jsonschema import DRAFT202012

from app.effective.json_documents import read_json
from app.effective.limits import Malformed
from app.effective.tree import Parsed, unfold
from app.model import Json

#: Where the schemas of a repository lie: one for each service, and one for all of them.
SCHEMA_FOLDER = ".config-server/schemas"
SHARED_SCHEMA = f"{SCHEMA_FOLDER}/application.json"
MAX_SCHEMA_BYTES = 128 << 10
MAX_SUBSCHEMAS = 2_000

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: What references between schemas are resolved against. Nothing is ever opened by this name.
_BASE = "file:///"
_REFERENCES = ("$ref", "$dynamicRef")
#: A pattern's automaton may take so much, in bytes: counted repetitions beyond it are refused.
_PATTERN_MEMORY = 1 << 20

Schema: TypeAlias = "bool | dict[str, Any]"


class BrokenSchema(ValueError):
    """A schema that cannot be applied: `path` is its file, `line` counts from 1 (None when it has none)."""

    def __init__(self, path: str, line: int | None, reason: str) -> None:
        super().__init__(f"{path}{f':{line}' if line else ''}: {reason}")
        self.path = path
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class SchemaFile:
    """A good schema by itself. `needs` are the other files that it refers to; whether they are there is not said."""

    path: str
    contents: Schema
    needs: frozenset[str] = field(default_factory=frozenset)


def schema_paths(service: str) -> tuple[str, str]:
    """The schemas that hold for a service: the one for all, and its own."""
    return SHARED_SCHEMA, f"{SCHEMA_FOLDER}/{service}.json"


def read_schema(path: str, data: bytes) -> SchemaFile:
    """Raises BrokenSchema, which quotes no more of the file than its keywords and references. Pure; any thread.

    A schema of one file is known by the file's name: an `$id` at its root is for other tools.
    """
    root = _parsed(path, data)
    contents, positions = unfold(root)
    schema: Schema = contents if isinstance(root.value, dict) else cast("Schema", contents["document"])
    if isinstance(schema, dict):
        if schema.get("$schema", _DIALECT) not in (_DIALECT, f"{_DIALECT}#"):
            raise BrokenSchema(path, None, "$schema: only JSON Schema 2020-12 is understood")
        schema = {name: value for name, value in schema.items() if name not in {"$id", "$schema"}}
    lines = {raw: mark[0] for raw, mark in positions.items()}
    _check_shape(path, schema, lines)
    return SchemaFile(path, schema, _checked_references(path, schema))


def uri_of(path: str) -> str:
    return _BASE + path


def pattern_of(text: str) -> Any:
    """The pattern by a linear-time engine. Raises ValueError for what it does not know, look-ahead and such."""
    return _compiled(text)


@lru_cache(1024)
def _compiled(text: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_MEMORY
    try:
        return re2.compile(text, options)
    except re2.error:
        raise ValueError("a pattern that is malformed, too large, or looks ahead or back") from None


def subschemas(schema: Schema, base: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Every schema in `schema` that is an object, itself included, with its base URI. Values that are data are none."""
    if isinstance(schema, dict):
        given = schema.get("$id")
        base = urljoin(base, given) if isinstance(given, str) else base
        yield schema, base
        for below in DRAFT202012.subresources_of(schema):
            yield from subschemas(cast("Schema", below), base)


def _parsed(path: str, data: bytes) -> Parsed:
    if len(data) > MAX_SCHEMA_BYTES:
        raise BrokenSchema(path, None, f"larger than {MAX_SCHEMA_BYTES >> 10} KiB")
    try:
        found = next(read_json(data.decode("utf-8-sig")), None)
    except UnicodeDecodeError:
        raise BrokenSchema(path, None, "not UTF-8") from None
    except Malformed as exc:
        raise BrokenSchema(path, exc.line, exc.reason) from None
    if found is None or not isinstance(found.value, dict | bool):
        raise BrokenSchema(path, None, "a schema is an object, true or false")
    return found


def _check_shape(path: str, schema: Schema, lines: Mapping[Any, int]) -> None:
    if isinstance(schema, dict) and _is_larger_than(schema, MAX_SUBSCHEMAS):
        raise BrokenSchema(path, None, f"more than {MAX_SUBSCHEMAS} schemas in one file")
    error = next(iter(_metaschema().iter_errors(schema)), None)
    if error is not None:
        where = tuple(error.absolute_path)
        line = next((number for raw, number in lines.items() if raw[: len(where)] == where), None)
        raise BrokenSchema(path, line, f"#/{'/'.join(map(str, where))}: not what JSON Schema 2020-12 allows there")


@cache
def _metaschema() -> Draft202012Validator:
    """The metaschema as one object instead of eight that refer to each other dynamically: ten times as fast."""
    flat: dict[str, Any] = {"type": ["object", "boolean"], "properties": {}, "$defs": {}}
    for part in Draft202012Validator.META_SCHEMA["allOf"]:
        vocabulary = SPECIFICATIONS.contents(urljoin(_DIALECT, part["$ref"]))
        plain = json.loads(json.dumps(vocabulary).replace('"$dynamicRef": "#meta"', '"$ref": "#"'))
        flat["properties"] |= plain["properties"]
        flat["$defs"] |= plain.get("$defs", {})
    return Draft202012Validator(flat)


def _is_larger_than(node: Json, limit: int) -> bool:
    """Whether there are more objects in it, without looking at all of a large one."""
    count, waiting = 0, [node]
    while waiting and count <= limit:
        each = waiting.pop()
        count += isinstance(each, dict)
        waiting += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
    return count > limit


def _checked_references(path: str, schema: Schema) -> frozenset[str]:
    own = uri_of(path)
    found = list(subschemas(schema, own))
    known = {base for _, base in found} | {own}
    needs: set[str] = set()
    for each, base in found:
        _check_patterns(path, each)
        if "$schema" in each:
            raise BrokenSchema(path, None, "$schema: may stand at the root only")
        for uri in (urldefrag(urljoin(base, each[name]))[0] for name in _REFERENCES if name in each):
            if uri not in known:
                needs.add(_neighbour(path, uri))
    return frozenset(needs)


def _neighbour(path: str, uri: str) -> str:
    named = uri.removeprefix(_BASE)
    if not uri.startswith(_BASE) or posixpath.dirname(named) != SCHEMA_FOLDER:
        raise BrokenSchema(path, None, "$ref: may name #..., or a file of the same folder, and nothing elsewhere")
    return named


def _check_patterns(path: str, schema: Mapping[str, Any]) -> None:
    patterns = [*schema.get("patternProperties", ()), *([schema["pattern"]] if "pattern" in schema else [])]
    for text in patterns:
        try:
            pattern_of(text)
        except ValueError as exc:
            raise BrokenSchema(path, None, str(exc)) from None
