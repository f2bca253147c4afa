"""Owns reading TOML 1.0: a bounded walk finds each value's position, then the standard parser reads the values."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

from app.effective.keys import key_text, shown
from app.effective.limits import (
    MAX_DEPTH,
    MAX_NUMBER_LENGTH,
    Budget,
    Malformed,
    check_escapes,
    checked_float,
    checked_integer,
)
from app.effective.tree import Lines, Mark, Parsed
from app.model import KeyPath, Scalar

#: tomllib is pure Python, about ten times slower than the other parsers; this keeps it well under half a second.
MAX_TOML_NODES = 20_000
MAX_TOML_LINES = 100_000

_SKIP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_KEY_PART = re.compile(r"""[ \t]*("[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*""")
_VALUE = re.compile(
    r'''"""[^"\\]*(?:(?:\\.|"{1,2}(?!"))[^"\\]*)*"{3,5}'''
    r"""|\'\'\'[^']*(?:'{1,2}(?!')[^']*)*'{3,5}"""
    r"""|"[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\n]*'"""
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[^\s,\[\]{}#]+"
    r"|[^\s,\[\]{}#\"'=]+",
    re.DOTALL,
)
_WHERE = re.compile(r" \(at (?:line ([0-9]+), column [0-9]+|end of document)\)$")


def read_toml(text: str) -> Iterator[Parsed]:
    """The one document of a TOML file, none when it has no key. Dates and times stay as written. Raises Malformed."""
    text = text.replace("\r\n", "\n")
    check_escapes(text)
    if text.count("\n") > MAX_TOML_LINES:
        raise Malformed(f"more than {MAX_TOML_LINES} lines")
    places = _Walk(text).places()
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        where = _WHERE.search(str(exc))
        line = int(where[1]) if where and where[1] else text.count("\n") + 1
        raise Malformed(_WHERE.sub("", str(exc)), line) from None
    except (ValueError, RecursionError):  # what tomllib leaves to int() and datetime()
        raise Malformed("not valid TOML") from None
    if values:
        yield _parsed(values, (), places, _Place((1, 1), ""))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value stands, and its text (that of a collection is empty)."""

    mark: Mark
    text: str


def _parsed(value: object, path: KeyPath, places: dict[KeyPath, _Place], above: _Place) -> Parsed:
    place = places.get(path, above)
    if isinstance(value, dict):
        return Parsed({key: _parsed(child, (*path, key), places, place) for key, child in value.items()}, place.mark)
    if isinstance(value, list):
        items = [_parsed(child, (*path, index), places, place) for index, child in enumerate(value)]
        return Parsed(items, place.mark)
    try:
        return Parsed(_scalar(value, place), place.mark)
    except Malformed as exc:
        raise Malformed(exc.reason, place.mark[0]) from None


def _scalar(value: object, place: _Place) -> Scalar:
    if isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return checked_integer(value)
    if isinstance(value, float):
        return checked_float(value)
    return place.text


class _Walk:
    """Steps over the tokens of a text that may be invalid: it only has to be bounded, and right for valid ones."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines = Lines(text)
        self._budget = Budget(MAX_TOML_NODES)
        self._places: dict[KeyPath, _Place] = {}
        self._tables: dict[KeyPath, int] = {}

    def places(self) -> dict[KeyPath, _Place]:
        base: KeyPath = ()
        self._skip()
        while self._at < len(self._text):
            if self._accept("[["):
                base = self._header(array=True)
            elif self._accept("["):
                base = self._header(array=False)
            else:
                self._pair(base)
            self._skip()
        return self._places

    def _header(self, *, array: bool) -> KeyPath:
        mark = self._lines.mark(self._at)
        path: KeyPath = ()
        parts = self._key()
        for position, part in enumerate(parts):
            path = (*path, part)
            if array and position == len(parts) - 1:
                self._places.setdefault(path, _Place(mark, ""))
                self._tables[path] = self._tables.get(path, 0) + 1
            if path in self._tables:
                path = (*path, self._tables[path] - 1)
        self._expect("]]" if array else "]")
        self._places.setdefault(path, _Place(mark, ""))
        return path

    def _pair(self, base: KeyPath) -> None:
        path = (*base, *self._key())
        self._expect("=")
        self._value(path)

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            match = _KEY_PART.match(self._text, self._at)
            if match is None:
                raise self._malformed("a key is missing or malformed")
            self._budget.spend(1, self._line())
            self._at = match.end()
            parts.append(_key_part(match[1]))
            if len(parts) > MAX_DEPTH:
                raise self._malformed(f"nested deeper than {MAX_DEPTH}")
            if not self._accept("."):
                return parts

    def _value(self, path: KeyPath) -> None:
        if len(path) > MAX_DEPTH:
            raise self._malformed(f"nested deeper than {MAX_DEPTH}")
        self._budget.spend(1, self._line())
        self._at = self._end(_BLANK)
        start, mark = self._at, self._lines.mark(self._at)
        if path in self._places:
            raise self._malformed(f"duplicate key {shown(key_text(path))}")
        if self._accept("["):
            self._places[path] = _Place(mark, "")
            self._array(path)
        elif self._accept("{"):
            self._places[path] = _Place(mark, "")
            self._inline_table(path)
        else:
            match = _VALUE.match(self._text, start)
            if match is None:
                raise self._malformed(f"{shown(key_text(path))}: a value is missing or malformed")
            if len(match[0]) > MAX_NUMBER_LENGTH and match[0][0] not in "\"'":
                raise self._malformed("a number has too many digits")
            self._at = match.end()
            self._places[path] = _Place(mark, match[0])

    def _array(self, path: KeyPath) -> None:
        index = 0
        self._skip()
        while not self._accept("]"):
            self._value((*path, index))
            index += 1
            self._skip()
            if not self._accept(","):
                self._expect("]")
                return
            self._skip()

    def _inline_table(self, path: KeyPath) -> None:
        self._skip()
        while not self._accept("}"):
            self._pair(path)
            self._skip()
            if not self._accept(","):
                self._expect("}")
                return
            self._skip()

    def _skip(self) -> None:
        self._at = self._end(_SKIP)

    def _end(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self._text, self._at)
        return match.end() if match else self._at

    def _accept(self, token: str) -> bool:
        found = self._text.startswith(token, self._at)
        self._at += len(token) * found
        return found

    def _expect(self, token: str) -> None:
        if not self._accept(token):
            raise self._malformed(f"{token} is missing")

    def _line(self) -> int:
        return self._lines.mark(self._at)[0]

    def _malformed(self, reason: str) -> Malformed:
        return Malformed(reason, self._line())


def _key_part(token: str) -> str:
    if token[0] not in "\"'":
        return token
    if "\\" not in token:
        return token[1:-1]
    try:
        return next(iter(tomllib.loads(f"{token} = 0")))
    except tomllib.TOMLDecodeError:
        raise Malformed("a key holds an illegal escape") from None
