"""Key paths: `db.pool`, `hosts[0]`, `limits["x.y"]`; finding, listing and matching what stands there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_PLAIN = re.compile(r"[\w-]+")
_SEGMENT = re.compile(
    r"""\[(?P<index>0|[1-9][0-9]{0,9})\]
      | \[(?P<quoted>"(?:[^"\\]|\\.)*")\]
      | (?P<dot>\.?)(?P<plain>[^.\[\]]+)""",
    re.VERBOSE | re.DOTALL,
)


@lru_cache(1024)
def parse(text: str) -> Path:
    """The path that `text` names; "" is the whole document. Raises ValueError."""
    path: list[str | int] = []
    position = 0
    while position < len(text):
        match = _SEGMENT.match(text, position)
        if match is None or (match["plain"] is not None and bool(match["dot"]) != bool(path)):
            raise ValueError(f"not a key path: {text!r}")
        path.append(_segment(match))
        position = match.end()
    return tuple(path)


def _segment(match: re.Match[str]) -> str | int:
    if match["index"] is not None:
        return int(match["index"])
    return str(json.loads(match["quoted"])) if match["quoted"] is not None else str(match["plain"])


def below(parent: str, segment: str | int) -> str:
    """The text of the path one segment below `parent`."""
    if isinstance(segment, int):
        return f"{parent}[{segment}]"
    if _PLAIN.fullmatch(segment):
        return f"{parent}.{segment}" if parent else segment
    return f"{parent}[{json.dumps(segment)}]"


def find(document: Any, text: str) -> Any:
    """What stands at `text`. Raises KeyError."""
    try:
        for segment in parse(text):
            document = _below_of(document)[segment]
    except (KeyError, ValueError):
        raise KeyError(text) from None
    return document


def _below_of(node: Any) -> dict[Any, Any]:
    """What stands below a node, by segment."""
    if isinstance(node, dict):
        return node
    return dict(enumerate(node)) if isinstance(node, list) else {}


def leaves(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path, value) of every leaf, in order: scalars, and maps and lists that are empty."""
    if isinstance(node, dict | list) and node:
        for segment, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(child, (*path, segment))
    else:
        yield path, node


def text_of(path: Path) -> str:
    text = ""
    for segment in path:
        text = below(text, segment)
    return text


@lru_cache(1024)
def _pattern(text: str) -> re.Pattern[str]:
    stem, rest = (text[:-2], r"(?:[.\[].*)?") if text.endswith(".*") else (text, "")
    body = "".join({"*": ".*", "?": "."}.get(part, re.escape(part)) for part in re.split(r"([*?])", stem))
    return re.compile(body + rest + r"(?![^.\[])", re.DOTALL)


def matches(pattern: str, key: str) -> bool:
    """Whether `key` is what `pattern` names (`db.*`, `*.timeout`, `db.pool`), or stands below it."""
    return _pattern(pattern).match(key) is not None


def changed(old: Any, new: Any) -> tuple[str, ...]:
    """The key paths of the leaves that are new, gone or different, in order. Types count: 1, 1.0 and true are three.

    The document itself is no key, though it be empty.
    """
    return tuple(dict.fromkeys(filter(None, _changed(old, new, ""))))


def _changed(old: Any, new: Any, key: str) -> Iterator[str]:
    if type(old) is type(new) and isinstance(old, dict | list) and old and new:
        yield from _below(_below_of(old), _below_of(new), key)
        return
    if type(old) is not type(new) or old != new:
        for side in (new, old):
            for path, _ in leaves(side):
                yield _joined(key, path)


def _below(old: dict[Any, Any], new: dict[Any, Any], key: str) -> Iterator[str]:
    for name in dict.fromkeys([*new, *old]):
        child = below(key, name)
        if name in old and name in new:
            yield from _changed(old[name], new[name], child)
        else:
            for path, _ in leaves(new[name] if name in new else old[name]):
                yield _joined(child, path)


def _joined(key: str, path: Path) -> str:
    for segment in path:
        key = below(key, segment)
    return key
