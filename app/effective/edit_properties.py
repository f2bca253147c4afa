"""Owns editing `.properties` by key: a line is replaced, added or taken out, and all others stay as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import javaproperties

from app.effective.edit_tree import EditRefused, path_of
from app.effective.keys import child_text, key_text, shown
from app.effective.properties_documents import DELIMITER, KEY, Entry, entries, separators
from app.model import Json, KeyPath


def edit_properties(text: str, document: int, changes: Mapping[KeyPath, Json], unset: Sequence[KeyPath]) -> str:
    """Values become text (`9`, `true`); maps and lists one line for each leaf. Raises EditRefused."""
    lines = re.split(r"\r|\n", text)
    for path in unset:
        _unset(lines, document, path)
    for path, value in changes.items():
        _set(lines, document, path, value)
    return "\n".join(lines)


def as_text(value: Json) -> Json:
    """What a value is once it has been through a `.properties` file. Raises EditRefused."""
    if value is None or value in ({}, []):
        raise EditRefused(".properties has no null, and no empty map or list")
    if isinstance(value, dict):
        return {key: as_text(child) for key, child in value.items()}
    if isinstance(value, list):
        return [as_text(child) for child in value]
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True, slots=True)
class _Found:
    """A logical line: its path, its key as written with what separates it, and the natural lines that it takes."""

    path: KeyPath
    head: str
    first: int
    last: int


def _unset(lines: list[str], document: int, path: KeyPath) -> None:
    found = [each for each in _document(lines, document)[0] if each.path[: len(path)] == path]
    if not found:
        raise EditRefused(f"{shown(key_text(path))} is not in this file")
    for each in reversed(found):
        del lines[each.first : each.last + 1]


def _set(lines: list[str], document: int, path: KeyPath, value: Json) -> None:
    found = [each for each in _document(lines, document)[0] if each.path[: len(path)] == path]
    leaves = dict(_leaves(as_text(value), key_text(path)))
    for each in reversed(found):
        name = key_text(each.path)
        new = [f"{each.head}{_value(leaves.pop(name))}"] if name in leaves else []
        lines[each.first : each.last + 1] = new
    end = _document(lines, document)[1]
    lines[end:end] = [f"{_key(name)}={_value(text)}" for name, text in leaves.items()]


def _leaves(value: Json, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _leaves(child, child_text(name, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _leaves(child, child_text(name, index))
    else:
        yield name, str(value)


def _document(lines: list[str], number: int) -> tuple[list[_Found], int]:
    """The entries of the document, and the line at which more are put in."""
    begin, seen = 0, 0
    for end in [*separators(lines), len(lines)]:
        found = [_found(entry) for entry in entries(lines, begin, end)]
        if found:
            if seen == number:
                return found, max(each.last for each in found) + 1
            seen += 1
        begin = end + 1
    blank_end = len(lines) - 1 if lines and not lines[-1] else len(lines)
    return [], blank_end


def _found(entry: Entry) -> _Found:
    match = KEY.match(entry.text)
    end = match.end() if match else 0
    delimiter = DELIMITER.match(entry.text, end)
    head = entry.text[: delimiter.end()] if delimiter else f"{entry.text[:end]}="
    numbers = [line - 1 for _, line, _ in entry.pieces]
    return _Found(path_of(javaproperties.unescape(entry.text[:end])), head, numbers[0], numbers[-1])


def _key(name: str) -> str:
    return javaproperties.join_key_value(name, "", separator="=", ensure_ascii=False).removesuffix("=")


def _value(text: str) -> str:
    return javaproperties.join_key_value("k", text, separator="=", ensure_ascii=False).removeprefix("k=")
