"""Owns holding an Effective against a schema: which value is wrong, where it stands, and by which rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jsonschema import ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from app.effective.fill import sealed
from app.effective.keys import key_text, shown
from app.effective.schema_file import BrokenSchema, Schema, SchemaFile, subschemas, uri_of
from app.effective.schema_keywords import Opaque, SchemaValidator, TooCostly, bounded
from app.effective.schema_words import said
from app.model import Effective, KeyPath, Origin, Reference, Template

_MOST = 20


@dataclass(frozen=True, slots=True)
class Violation:
    """A value that a schema refuses. `path` and `line` are where it stands (of a value that is missing: what should
    hold it), `key` is its key path, `schema` the rule as file#/pointer. `reason` quotes no value."""

    path: str
    line: int | None
    key: str
    schema: str
    reason: str


class CompiledSchema:
    """One schema with those that it refers to. Immutable; may be shared between threads."""

    def __init__(self, root: SchemaFile, others: Mapping[str, SchemaFile]) -> None:
        """`others` has every file that is referred to, as far as it is there. Raises BrokenSchema."""
        self.path = root.path
        files = [root, *(file for file in others.values() if file.path != root.path)]
        registry: Registry[Schema] = Registry().with_resources(
            (uri_of(file.path), DRAFT202012.create_resource(file.contents)) for file in files
        )
        registry = registry.crawl()
        known = {id(each) for file in files for each, _ in subschemas(file.contents, "")}
        for file in files:
            _check_references(file, registry, known)
        self._files = files  # keeps what `_places` names alive
        self._places = {id(each): place for file in files for each, place in _places(file.contents, f"{file.path}#")}
        # By a reference, so that whatever is in it is resolved from its own place.
        self._validator = SchemaValidator({"$ref": uri_of(root.path)}, registry=registry)

    def violations(self, effective: Effective) -> list[Violation]:
        """What is wrong, in the order of the files, twenty at most. Raises BrokenSchema if finding out costs too much.

        A secret is neither known nor needed: a whole-value reference may be any scalar, and a text with a reference in
        it any text; both pass whatever a rule would ask of the value.
        """
        instance = sealed(effective.values, _opaque)
        try:
            with bounded():
                errors = list(islice(self._validator.iter_errors(instance), _MOST))
        except TooCostly:
            raise BrokenSchema(self.path, None, "takes too long to be held against a configuration") from None
        except (RecursionError, Unresolvable):
            raise BrokenSchema(self.path, None, "refers to itself without an end") from None
        found = [self._violation(error, effective) for error in errors]
        return sorted(found, key=lambda each: (each.path, each.line or 0, each.key, each.schema))

    def _violation(self, error: ValidationError, effective: Effective) -> Violation:
        key = tuple(error.absolute_path)
        origin = _origin(effective, key)
        path = origin.path if origin else effective.paths[0] if effective.paths else self.path
        place = self._places.get(id(error.schema), f"{self.path}#")
        rule = f"{place}/{error.validator}" if error.validator else place
        return Violation(path, origin.line if origin else None, key_text(key), rule, said(error))


def first_violation(violations: Sequence[Violation]) -> str:
    """The first in one line, and how many more there are."""
    first, more = violations[0], len(violations) - 1
    tail = f" (and {more} more)" if more else ""
    return f"{shown(first.key) or 'the configuration'}: {first.reason} ({first.schema}){tail}"


def _opaque(template: Template) -> Opaque:
    return Opaque(whole=len(template.parts) == 1 and isinstance(template.parts[0], Reference))


def _origin(effective: Effective, key: KeyPath) -> Origin | None:
    """Of the value, or of the first that is in it."""
    text = key_text(key)
    if text in effective.origins or not text:
        return effective.origins.get(text)
    below = (f"{text}.", f"{text}[")
    return next((origin for name, origin in effective.origins.items() if name.startswith(below)), None)


def _check_references(file: SchemaFile, registry: Registry[Schema], known: Set[int]) -> None:
    """Every reference leads to a schema of these files, one that was held against the metaschema."""
    own = registry.resolver(uri_of(file.path))
    for schema, base in subschemas(file.contents, uri_of(file.path)):
        resolver = own if base == uri_of(file.path) else registry.resolver(base)
        for name in ("$ref", "$dynamicRef"):
            if name in schema:
                try:
                    found = resolver.lookup(schema[name]).contents
                except Unresolvable:
                    found = None
                if not isinstance(found, bool) and id(found) not in known:
                    raise BrokenSchema(file.path, None, f"{name}: {shown(schema[name])} leads to no schema")


def _places(node: Any, place: str) -> Iterator[tuple[Any, str]]:
    """Every object of a file with its pointer (RFC 6901)."""
    if isinstance(node, dict):
        yield node, place
    named = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, below in named:
        yield from _places(below, f"{place}/{str(name).replace('~', '~0').replace('/', '~1')}")
