"""Owns what a plain YAML scalar means: YAML 1.1 as SnakeYAML reads it under Spring Boot (dates stay strings)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from app.effective.limits import MAX_NUMBER_LENGTH, Malformed, checked_float, checked_integer
from app.model import Scalar

_SPELLED: Mapping[Scalar, tuple[str, ...]] = {
    None: ("null",),
    True: ("yes", "true", "on"),
    False: ("no", "false", "off"),
}
_WORDS: dict[str, Scalar] = {
    spelling: value
    for value, words in _SPELLED.items()
    for word in words
    for spelling in (word, word.capitalize(), word.upper())
}
_WORDS |= {"": None, "~": None}

# org.yaml.snakeyaml.resolver.Resolver, INT tried before FLOAT.
_INT = re.compile(
    r"""(?P<sign>[-+]?) (?:
        0b_*(?P<binary>[01][01_]*)
      | 0(?P<octal>[0-7_]+)
      | (?P<decimal>0|[1-9][0-9_]*)
      | 0x_*(?P<hexadecimal>[0-9a-fA-F][0-9a-fA-F_]*)
      | (?P<sexagesimal>[1-9][0-9_]*(?::[0-5]?[0-9])+)
    )""",
    re.VERBOSE,
)
_FLOAT = re.compile(
    r"""[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
      | [-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
      | \.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
    """,
    re.VERBOSE,
)
_SEXAGESIMAL_FLOAT = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_NUMERIC_START = frozenset("-+.0123456789")
_SHORT = 18
_BASES = {"binary": 2, "octal": 8, "decimal": 10, "hexadecimal": 16}


def resolve(text: str) -> Scalar:
    """The value of a plain scalar. Raises Malformed for infinities, not-a-number and numbers beyond a double."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC_START:
        return text
    if text.isdecimal() and text.isascii() and text[0] != "0" and len(text) < _SHORT:
        return int(text)  # the common case, fast
    if match := _INT.fullmatch(text):
        return _integer(match)
    if _FLOAT.fullmatch(text):
        return checked_float(float(_digits(text)))
    if _SEXAGESIMAL_FLOAT.fullmatch(text):
        return _sexagesimal_float(_digits(text))
    if _NOT_FINITE.fullmatch(text):
        raise Malformed("infinity and not-a-number are not allowed")
    return text


def _digits(text: str) -> str:
    if len(text) > MAX_NUMBER_LENGTH:
        raise Malformed("a number has too many digits")
    return text.replace("_", "")


def _integer(match: re.Match[str]) -> int:
    kind = match.lastgroup or ""
    digits = _digits(match[kind])
    value = _sexagesimal(digits) if kind == "sexagesimal" else int(digits or "0", _BASES[kind])
    return checked_integer(-value if match["sign"] == "-" else value)


def _sexagesimal(digits: str) -> int:
    value = 0
    for part in digits.split(":"):
        value = value * 60 + int(part)
    return value


def _sexagesimal_float(digits: str) -> float:
    whole, _, last = digits.lstrip("+-").rpartition(":")
    value = _sexagesimal(whole) * 60 + float(last)
    return checked_float(-value if digits.startswith("-") else value)
