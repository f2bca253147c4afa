"""Owns reading JSON (RFC 8259): the standard parser validates, a walk over the tokens keeps positions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from app.effective.limits import (
    MAX_DEPTH,
    MAX_NUMBER_LENGTH,
    Budget,
    Malformed,
    check_escapes,
    checked_float,
    checked_integer,
)
from app.effective.tree import Lines, Parsed, TreeBuilder
from app.model import Scalar

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]|[^\s{}\[\]:,"]+')
_WORDS: dict[str, Scalar] = {"true": True, "false": False, "null": None}


def read_json(text: str) -> Iterator[Parsed]:
    """The one document of a JSON text, none when the file is blank. Raises Malformed."""
    if not text.strip():
        return
    check_escapes(text)
    _validate(text)
    lines = Lines(text)
    builder = TreeBuilder(Budget())
    for token in _TOKEN.finditer(text):
        mark = lines.mark(token.start())
        try:
            _take(builder, token[0], mark)
        except Malformed as exc:
            raise Malformed(exc.reason, mark[0]) from None
    if builder.root is not None:
        yield builder.root


def _validate(text: str) -> None:
    try:
        json.loads(text, parse_int=_leave, parse_float=_leave, parse_constant=_leave)
    except json.JSONDecodeError as exc:
        raise Malformed(exc.msg, exc.lineno) from None
    except RecursionError:
        raise Malformed(f"nested deeper than {MAX_DEPTH}") from None


def _leave(_token: str) -> None:
    """Numbers are converted in the walk, which knows their line."""


def _take(builder: TreeBuilder, piece: str, mark: tuple[int, int]) -> None:
    if piece == "{":
        builder.open({}, mark)
    elif piece == "[":
        builder.open([], mark)
    elif piece in ("}", "]"):
        builder.close()
    elif builder.expects_key:
        builder.key(_string(piece), mark)
    else:
        builder.scalar(_string(piece) if piece[0] == '"' else _plain(piece), mark)


def _string(token: str) -> str:
    return str(json.loads(token)) if "\\" in token else token[1:-1]


def _plain(token: str) -> Scalar:
    if token in _WORDS:
        return _WORDS[token]
    if len(token) > MAX_NUMBER_LENGTH:
        raise Malformed("a number has too many digits")
    if token.lstrip("-").isdigit():
        return checked_integer(int(token))
    return checked_float(float(token))
