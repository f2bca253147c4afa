"""Owns the canonical bytes of values: RFC 8785 for clients, an exact form for etags."""

from __future__ import annotations

import json

import rfc8785

from app.model import Effective, Json, Node, Template

_SAFE = 2**53 - 1
#: From here on Python writes fractions without an exponent, as JavaScript does.
_SMALLEST = 1e-4


def canonical(value: Json) -> bytes:
    """RFC 8785 bytes. Integers beyond ±(2^53-1) are written as the double that JavaScript holds in their place.

    Raises ValueError (rfc8785.CanonicalizationError) for infinity, not-a-number and lone surrogates, OverflowError
    for integers beyond a double; no parsed or filled value holds any of them.
    """
    plain = _plain(value)
    return plain if plain is not None else rfc8785.dumps(_as_doubles(value))


def _plain(value: Json) -> bytes | None:
    """The same by the standard library, twenty times as fast, for values in which the two do not differ; else None.

    They differ in some numbers, and in the order of keys beyond U+D7FF: RFC 8785 sorts by UTF-16 code units.
    """
    try:
        text = json.dumps(_as_integers(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    except _Different:
        return None
    return text.encode() if text.isascii() or max(text) <= "\ud7ff" else None


class _Different(Exception):
    """A number that Python and JavaScript write differently."""


def _as_integers(value: Json) -> Json:
    """1.0 as 1, as JavaScript writes it."""
    kind = type(value)
    if kind is str:
        return value
    if isinstance(value, dict):
        return {key: _as_integers(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_as_integers(child) for child in value]
    if kind is int and not -_SAFE <= value <= _SAFE:  # type: ignore[operator]
        raise _Different
    if isinstance(value, float):
        if value.is_integer() and -_SAFE <= value <= _SAFE:
            return int(value)
        if not _SMALLEST <= abs(value) < _SAFE:
            raise _Different
    return value


def _as_doubles(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _as_doubles(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_as_doubles(child) for child in value]
    if isinstance(value, int) and not -_SAFE <= value <= _SAFE:
        return float(value)
    return value


def fingerprint(effective: Effective) -> bytes:
    """Bytes that are equal when and only when the values are, secret references included, whatever the key order.

    RFC 8785 alone would let 1 and 1.0, or neighbouring large integers, look alike. Here every scalar is JSON's exact
    text, and a list begins with 0 where a Template begins with 1.
    """
    tagged = {key: tag(node) for key, node in effective.values.items()}
    return json.dumps(tagged, sort_keys=True, separators=(",", ":")).encode()


def tag(node: Node) -> Json:
    """A node as JSON in which a Template differs from every literal value: lists are [0, ...], Templates [1, ...].

    A reference inside a Template is [text], a literal part is its string.
    """
    if isinstance(node, Template):
        parts: list[Json] = [part if isinstance(part, str) else [part.text] for part in node.parts]
        return [1, *parts]
    if isinstance(node, dict):
        return {key: tag(child) for key, child in node.items()}
    if isinstance(node, list):
        return [0, *(tag(child) for child in node)]
    return node
