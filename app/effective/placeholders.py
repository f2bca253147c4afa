"""Owns placeholders: `${key}`, `${key:default}` and the escape `$${`, resolved against the Effective itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from app.effective.keys import shown
from app.effective.limits import MAX_DEPTH
from app.effective.references import is_parsed, parse_value
from app.model import Reference, Scalar, Template

MAX_VALUE_LENGTH = 1 << 20
MAX_TOTAL_LENGTH = 8 << 20
MAX_TOKENS = 50_000
_SHOWN = 3

_TOKEN = re.compile(r"\$\$\{|\$\{|[{}:]")


class BadPlaceholder(ValueError):
    """A loop, or an expansion beyond the bounds. `str(error)` is the reason; it quotes nothing but keys."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    key: list[Part]
    default: list[Part] | None
    source: tuple[str | Reference, ...]


Part: TypeAlias = str | Reference | Placeholder


@dataclass(slots=True)
class _Open:
    """A placeholder whose closing brace is still to come. `braces` counts plain ones open inside it."""

    start: int
    parts: list[Part] = field(default_factory=list)
    key: list[Part] | None = None
    braces: int = 0


@dataclass(frozen=True, slots=True)
class _Expansion:
    """A finished value. `height` is the length of the longest chain of placeholders beneath it."""

    parts: tuple[str | Reference, ...]
    height: int

    @property
    def length(self) -> int:
        return sum(len(part) if isinstance(part, str) else len(part.text) for part in self.parts)


class Placeholders:
    """Expands the leaves of one Effective. Each leaf is expanded once, so a chain costs its length. Not thread-safe.

    A substituted value is always text, in a whole value too, as in Spring: booleans and numbers as JSON writes them,
    null as "". A target that holds secret references passes them on as parts of a Template. A key that is unknown,
    is a map or list, or holds a reference leaves its placeholder as it is written.
    """

    def __init__(self, leaves: Mapping[str, Scalar]) -> None:
        self._leaves = leaves
        self._done: dict[str, _Expansion] = {}
        self._open: dict[str, None] = {}
        self._tokens = 0
        self._produced = 0

    def expand(self, key: str) -> str | Template:
        """The value of the leaf `key`, a string. Raises BadPlaceholder, or MalformedReference from its text."""
        expansion = self._leaf(key, 0)
        if any(isinstance(part, Reference) for part in expansion.parts):
            return Template(expansion.parts)
        return "".join(part for part in expansion.parts if isinstance(part, str))

    def _leaf(self, key: str, depth: int) -> _Expansion:
        if key in self._done:
            return self._done[key]
        value = self._leaves[key]
        if not isinstance(value, str) or not is_parsed(value):
            return _Expansion((value if isinstance(value, str) else as_text(value),), 0)
        if key in self._open:
            raise BadPlaceholder(f"placeholder loop: {_loop([*self._open, key])}")
        self._open[key] = None
        parsed = self._parse(value)
        expansion = self._done[key] = self._evaluate(parsed, depth)
        del self._open[key]
        return expansion

    def _parse(self, text: str) -> list[Part]:
        template = parse_value(text)
        pieces = tokenized(template.parts if isinstance(template, Template) else (template,))
        tokens = list(islice(pieces, MAX_TOKENS + 1))
        self._tokens += len(tokens)
        if self._tokens > MAX_TOKENS:
            raise BadPlaceholder("too many placeholders")
        return parse_parts(tokens)

    def _evaluate(self, parts: Sequence[Part], depth: int) -> _Expansion:
        out: list[str | Reference] = []
        height = length = 0
        for part in parts:
            piece = self._substitute(part, depth + 1) if isinstance(part, Placeholder) else _Expansion((part,), 0)
            out.extend(piece.parts)
            height = max(height, piece.height)
            length += piece.length
            if length > MAX_VALUE_LENGTH:
                raise BadPlaceholder("the value becomes too long when its placeholders are filled")
        self._produced += length
        if self._produced > MAX_TOTAL_LENGTH:
            raise BadPlaceholder("the configuration becomes too long when its placeholders are filled")
        return _Expansion(tuple(out) if len(parts) == 1 else _joined(out), height)

    def _substitute(self, placeholder: Placeholder, depth: int) -> _Expansion:
        if depth > MAX_DEPTH:
            raise BadPlaceholder(f"placeholders lead to each other more than {MAX_DEPTH} deep")
        key = self._evaluate(placeholder.key, depth).parts
        name = "".join(part for part in key if isinstance(part, str))
        if name in self._leaves and not any(isinstance(part, Reference) for part in key):
            found = self._leaf(name, depth)
        elif placeholder.default is not None:
            found = self._evaluate(placeholder.default, depth)
        else:
            found = _Expansion(placeholder.source, 0)
        if found.height >= MAX_DEPTH:
            raise BadPlaceholder(f"placeholders lead to each other more than {MAX_DEPTH} deep")
        return _Expansion(found.parts, found.height + 1)


def _loop(keys: list[str]) -> str:
    """The way from the last key to itself; of a long one the beginning and the end."""
    names = [shown(key) for key in keys[keys.index(keys[-1]) :]]
    return " -> ".join(names if len(names) <= 2 * _SHOWN else [*names[:_SHOWN], "...", *names[-_SHOWN:]])


def as_text(value: Scalar) -> str:
    return "" if value is None else json.dumps(value)


def tokenized(parts: Sequence[str | Reference]) -> Iterator[str | Reference]:
    for part in parts:
        if isinstance(part, Reference):
            yield part
            continue
        position = 0
        for match in _TOKEN.finditer(part):
            if match.start() > position:
                yield part[position : match.start()]
            yield match[0]
            position = match.end()
        if position < len(part):
            yield part[position:]


def parse_parts(tokens: Sequence[str | Reference]) -> list[Part]:
    """Braces nest inside a placeholder (`${a:{"b": 1}}`); one that is never closed is plain text."""
    stack = [_Open(-1)]
    for index, piece in enumerate(tokens):
        top = stack[-1]
        if piece == "${":
            if len(stack) > MAX_DEPTH:
                raise BadPlaceholder(f"placeholders nested deeper than {MAX_DEPTH}")
            stack.append(_Open(index))
        elif piece == "}" and len(stack) > 1 and not top.braces:
            stack.pop()
            stack[-1].parts.append(_closed(top, tuple(tokens[top.start : index + 1])))
        elif piece == ":" and len(stack) > 1 and not top.braces and top.key is None:
            top.key, top.parts = top.parts, []
        else:
            top.braces += {"$${": 1, "{": 1, "}": -1}.get(piece, 0) if isinstance(piece, str) else 0
            top.parts.append("${" if piece == "$${" else piece)
    while len(stack) > 1:
        top = stack.pop()
        stack[-1].parts += ["${", *(top.key or []), *([":"] if top.key is not None else []), *top.parts]
    return stack[0].parts


def _closed(top: _Open, source: tuple[str | Reference, ...]) -> Placeholder:
    if top.key is None:
        return Placeholder(top.parts, None, source)
    return Placeholder(top.key, top.parts, source)


def _joined(parts: Sequence[str | Reference]) -> tuple[str | Reference, ...]:
    """Neighbouring texts become one, empty ones vanish.

    What comes down to a reference alone gets an empty text before it: it was not written as a whole value, so the
    secret becomes text.
    """
    out: list[str | Reference] = []
    run: list[str] = []
    for part in parts:
        if isinstance(part, str):
            run.append(part)
            continue
        if text := "".join(run):
            out.append(text)
        run.clear()
        out.append(part)
    if text := "".join(run):
        out.append(text)
    return ("", *out) if len(out) == 1 and isinstance(out[0], Reference) else tuple(out)
