"""Owns the bounds of parsing, and the error that parsers raise before the file's name is known."""

from __future__ import annotations

import math

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_NODES = 50_000
MAX_DOCUMENTS = 1_000
MAX_INDEX = 10_000
#: Backslashes in JSON, TOML and .properties, whose readers step over each one.
MAX_ESCAPES = 100_000
#: Integers below this fit a double, so every JSON reader understands them (RFC 8259, section 6).
MAX_INTEGER = 10**300
MAX_NUMBER_LENGTH = 400


class Malformed(ValueError):
    """A document that is not acceptable: `reason` quotes nothing but key names, `line` counts from 1."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


class Budget:
    """Counts what one file costs, aliases weighted; raises Malformed beyond `limit`. Not thread-safe."""

    def __init__(self, limit: int = MAX_NODES) -> None:
        self._limit = limit
        self._spent = 0

    def spend(self, nodes: int, line: int | None) -> None:
        self._spent += nodes
        if self._spent > self._limit:
            raise Malformed(f"more than {self._limit} nodes", line)


def check_escapes(text: str) -> None:
    """Raise Malformed for more than MAX_ESCAPES backslashes."""
    if text.count("\\") > MAX_ESCAPES:
        raise Malformed(f"more than {MAX_ESCAPES} escapes")


def checked_integer(value: int) -> int:
    """Raise Malformed unless `value` fits a double."""
    if not -MAX_INTEGER < value < MAX_INTEGER:
        raise Malformed("an integer is too large")
    return value


def checked_float(value: float) -> float:
    """Raise Malformed for infinity and not-a-number."""
    if not math.isfinite(value):
        raise Malformed("infinity and not-a-number are not allowed")
    return value


def checked_text(text: str) -> str:
    """Raise Malformed for lone surrogates, which no UTF-8 answer can carry."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Malformed("a string holds half of a surrogate pair") from None
    return text
