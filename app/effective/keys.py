"""Owns the text of key paths: `a.b[0]`, and `["x.y"]` for keys with other characters than letters, digits, `_`, `-`."""

from __future__ import annotations

import json
import re
from functools import lru_cache

from app.model import KeyPath

_PLAIN = re.compile(r"[\w-]+")
_TOKEN = re.compile(
    r"""\[(?P<index>0|[1-9][0-9]{0,9})\]       # [0]
      | \[(?P<quoted>"(?:[^"\\]|\\.)*")\]      # ["x.y"], a JSON string
      | \[(?P<literal>[^\[\]"]+)\]             # [x.y], as Spring writes it
      | (?P<dot>\.?)(?P<plain>[^.\[\]]+)       # x or .x
    """,
    re.VERBOSE | re.DOTALL,
)
_SHOWN = 120


class LiteralKey(str):
    """A map key that YAML read as a number or boolean: it is one segment whatever it holds (`1.5`).

    Spring writes such keys in brackets (`codes[1]`) when it flattens.
    """

    __slots__ = ()


def parse_key(text: str) -> KeyPath:
    """The path that `text` names. Plain segments may hold any character but `.`, `[`, `]`.

    Raises ValueError when a segment is empty or a bracket is not closed.
    """
    if isinstance(text, LiteralKey) or _PLAIN.fullmatch(text):
        return (str(text),)
    path: list[str | int] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or (match["plain"] is not None and bool(match["dot"]) != bool(path)):
            raise ValueError("not a key path")
        path.append(_segment(match))
        position = match.end()
    if not path:
        raise ValueError("not a key path")
    return tuple(path)


def _segment(match: re.Match[str]) -> str | int:
    if match["index"] is not None:
        return int(match["index"])
    if match["quoted"] is not None:
        return _unquoted(match["quoted"])
    return match["plain"] or match["literal"]


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text))
    except json.JSONDecodeError:
        raise ValueError("not a key path") from None


def key_text(path: KeyPath) -> str:
    """The text of a path; `parse_key` is its inverse for every path that is not empty."""
    text = ""
    for segment in path:
        text = child_text(text, segment)
    return text


def child_text(parent: str, segment: str | int) -> str:
    """The text of the path one `segment` below `parent` ("" is the root)."""
    if isinstance(segment, int):
        return f"{parent}[{segment}]"
    if _is_plain(segment):
        return f"{parent}.{segment}" if parent else segment
    return f"{parent}[{json.dumps(str(segment))}]"


@lru_cache(4096)
def _is_plain(segment: str) -> bool:
    """The same few names stand in every file, and this is asked for each leaf of each target."""
    return _PLAIN.fullmatch(segment) is not None


def shown(key: str) -> str:
    """A key's text for messages: escaped and shortened, so that it forges no line and fills no log."""
    text = key if len(key) <= _SHOWN else key[:_SHOWN] + "..."
    return json.dumps(text) if not text.isprintable() else text
