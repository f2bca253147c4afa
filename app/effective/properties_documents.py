"""Owns reading `.properties`: java.util.Properties' line format, split into documents as Spring Boot does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import javaproperties

from app.effective.limits import Budget, Malformed, check_escapes
from app.effective.tree import Mark, Parsed, TreeBuilder

_SEPARATOR = re.compile(r"([#!])---[ \t\f]*")
DELIMITER = re.compile(r"[ \t\f]*[=:][ \t\f]*|[ \t\f]+")
KEY = re.compile(r"[^\\=: \t\f]*(?:\\.[^\\=: \t\f]*)*", re.DOTALL)
_BLANK = " \t\f"


def decode_properties(data: bytes) -> str:
    """UTF-8 if it is valid, else ISO-8859-1 (java.util.Properties)."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("iso-8859-1")


def read_properties(text: str) -> Iterator[Parsed]:
    """The documents of a `.properties` file, those without any key left out. Values are strings, keys raw.

    `#---` or `!---` alone on a line separates documents, unless a neighbouring line is a comment of the same kind
    (Spring Boot, "Multi-document files"). A key given twice in a document is an error, as in every other format,
    though Java would silently take the last. Raises Malformed.
    """
    check_escapes(text)
    budget = Budget()
    lines = re.split(r"\r\n|\r|\n", text)
    begin = 0
    for end in chain(separators(lines), [len(lines)]):  # found as they are needed: there may be too many
        builder = TreeBuilder(budget)
        builder.open({}, (begin + 1, 1))
        for entry in entries(lines, begin, end):
            _take(builder, entry)
        if (document := builder.close()).value:
            yield document
        begin = end + 1


def separators(lines: list[str]) -> Iterator[int]:
    for index, line in enumerate(lines):
        if line[1:4] == "---" and (match := _SEPARATOR.fullmatch(line)):
            neighbours = lines[max(index - 1, 0) : index] + lines[index + 1 : index + 2]
            if not any(each.startswith(match[1]) for each in neighbours):
                yield index


@dataclass(frozen=True, slots=True)
class Entry:
    """A logical line. `pieces` are its natural lines: (offset in `text`, line, column) of each one's beginning."""

    text: str
    pieces: list[tuple[int, int, int]]

    def mark(self, offset: int) -> Mark:
        start, line, column = [piece for piece in self.pieces if piece[0] <= offset][-1]
        return line, column + offset - start


def entries(lines: list[str], begin: int, end: int) -> Iterator[Entry]:
    """Join continued lines, in linear time (javaproperties' own reader is quadratic here)."""
    index = begin
    while index < end:
        parts: list[str] = []
        pieces: list[tuple[int, int, int]] = []
        length = 0
        while index < end:
            line = lines[index].lstrip(_BLANK)
            index += 1
            if not pieces and (not line or line[0] in "#!"):
                break
            goes_on = (len(line) - len(line.rstrip("\\"))) % 2 == 1
            pieces.append((length, index, len(lines[index - 1]) - len(line) + 1))
            parts.append(line[:-1] if goes_on else line)
            length += len(parts[-1])
            if not goes_on:
                break
        if length:
            yield Entry("".join(parts), pieces)


def _take(builder: TreeBuilder, entry: Entry) -> None:
    key = KEY.match(entry.text)
    key_end = key.end() if key else 0
    delimiter = DELIMITER.match(entry.text, key_end)
    value_start = delimiter.end() if delimiter else len(entry.text)
    mark = entry.mark(value_start)
    try:
        builder.key(javaproperties.unescape(entry.text[:key_end]), mark)
        builder.scalar(javaproperties.unescape(entry.text[value_start:]), mark)
    except javaproperties.InvalidUEscapeError:
        raise Malformed("\\u without four hexadecimal digits", mark[0]) from None
