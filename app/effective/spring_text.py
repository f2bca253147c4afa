"""Owns placeholders by Spring's rules: `${key}`, `${key:default}`, and the escape `\\${`, filled from served values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.effective.keys import shown
from app.effective.limits import MAX_DEPTH, Malformed
from app.effective.placeholders import (
    MAX_TOTAL_LENGTH,
    MAX_VALUE_LENGTH,
    BadPlaceholder,
    Part,
    Placeholder,
    as_text,
    parse_parts,
)
from app.effective.references import parse_template
from app.effective.yaml_scalars import resolve
from app.model import MASK, Json, Node, Reference, Scalar, Template

_TOKEN = re.compile(r"\\\$\{|\$\{|[{}:]")
#: What stands for an escaped `${` among the tokens.
_ESCAPED = "$${"


@dataclass(frozen=True, slots=True)
class _Text:
    """A finished text, and whether a secret has gone into it."""

    text: str
    secret: bool = False


class SpringPlaceholders:
    """Fills the leaves of one configuration, and texts beside it, by Spring's PropertyPlaceholderHelper.

    `leaves` are the winning values by flat key, `secret` gives what stands for a reference. A secret is never looked
    at again. With `masked` a leaf that a secret has gone into is MASK whole. An unknown key without a default stays as
    it is written. Not thread-safe; one per answer.
    """

    def __init__(self, leaves: Mapping[str, Node], secret: Callable[[Reference], Json], *, masked: bool) -> None:
        self._leaves = leaves
        self._secret = secret
        self._masked = masked
        self._done: dict[str, _Text] = {}
        self._open: set[str] = set()
        self._produced = 0

    def plain(self, key: str) -> Json:
        """The leaf as it is, secrets filled in, placeholders left alone. A whole reference keeps the secret's type."""
        node = self._leaves[key]
        if not isinstance(node, Template):
            return _json(node)
        if self._masked:
            return MASK
        if len(node.parts) == 1 and isinstance(node.parts[0], Reference):
            return self._secret(node.parts[0])
        return "".join(part if isinstance(part, str) else _inline(self._secret(part)) for part in node.parts)

    def filled(self, key: str) -> Json:
        """The leaf with its placeholders filled. Raises BadPlaceholder for loops, and what grows out of bounds."""
        node = self._leaves[key]
        held = node.parts if isinstance(node, Template) else (node,)
        if not any(isinstance(part, str) and "${" in part for part in held):
            return self.plain(key)
        return self._leaf(key, 0).text

    def retyped(self, key: str) -> Json:
        """The same as a reader of YAML finds it: Spring fills the text of the document, where `${port}` is plain."""
        node, value = self._leaves[key], self.filled(key)
        if not (isinstance(node, str) and isinstance(value, str)) or value == node or value != value.strip():
            return value
        try:
            return resolve(value)
        except Malformed:  # infinity, say: as a text it does no harm
            return value

    def text(self, text: str) -> str:
        """A text beside the configuration, filled in one pass; secret references in it stay as they are written.

        Raises BadPlaceholder, MalformedReference.
        """
        template = parse_template(text)
        parts = template.parts if isinstance(template, Template) else (template,)
        filled = (self._evaluate(_parsed((part,)), 0).text if isinstance(part, str) else part.text for part in parts)
        return "".join(filled)

    def _leaf(self, key: str, depth: int) -> _Text:
        if key in self._done:
            return self._done[key]
        if key in self._open:
            raise BadPlaceholder(f"{shown(key)}: placeholder loop")
        node = self._leaves[key]
        if not isinstance(node, str | Template):
            return _Text(as_text(_json(node)))
        self._open.add(key)
        found = self._evaluate(_parsed(node.parts if isinstance(node, Template) else (node,)), depth)
        self._open.remove(key)
        self._done[key] = found = _Text(MASK, secret=True) if self._masked and found.secret else found
        return found

    def _evaluate(self, parts: Sequence[Part], depth: int) -> _Text:
        if depth > MAX_DEPTH:
            raise BadPlaceholder(f"placeholders lead to each other more than {MAX_DEPTH} deep")
        found = [self._part(part, depth) for part in parts]
        length = sum(len(each.text) for each in found)
        self._produced += length
        if (depth and length > MAX_VALUE_LENGTH) or self._produced > MAX_TOTAL_LENGTH:
            raise BadPlaceholder("a text becomes too long when its placeholders are filled")
        return _Text("".join(each.text for each in found), any(each.secret for each in found))

    def _part(self, part: Part, depth: int) -> _Text:
        if isinstance(part, str):
            return _Text(part)
        if isinstance(part, Reference):
            return _Text(MASK if self._masked else _inline(self._secret(part)), secret=True)
        key = self._evaluate(part.key, depth + 1)
        if key.text in self._leaves and not key.secret:
            return self._leaf(key.text, depth + 1)
        if part.default is not None:
            return self._evaluate(part.default, depth + 1)
        return _Text(_source(part))


def _parsed(parts: Sequence[str | Reference]) -> list[Part]:
    return parse_parts(list(_tokens(parts)))


def _tokens(parts: Sequence[str | Reference]) -> Iterator[str | Reference]:
    for part in parts:
        if isinstance(part, Reference):
            yield part
            continue
        position = 0
        for match in _TOKEN.finditer(part):
            if match.start() > position:
                yield part[position : match.start()]
            yield _ESCAPED if match[0].startswith("\\") else match[0]
            position = match.end()
        if position < len(part):
            yield part[position:]


def _source(placeholder: Placeholder) -> str:
    """As it was written, for who reads the answer may know the key."""
    written = (part if isinstance(part, str) else part.text for part in placeholder.source)
    return "".join("${" if text == _ESCAPED else text for text in written)


def _inline(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _json(node: Node) -> Scalar:
    if isinstance(node, dict | list | Template):
        raise TypeError("leaves of a sheet are scalars")
    return node
