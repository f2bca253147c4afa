"""Owns the grammar of secret references: `${vault:alias/seg/seg#key@version}`, and whole values `{cipher}...`."""

from __future__ import annotations

import re

from app.model import CIPHER, Reference, Template

# Classes are spelled out in ASCII: \w and \d would let other scripts' digits into a path. The first character of a
# segment keeps `.` and `..` out; `%` and empty segments fit nowhere.
_REFERENCE = re.compile(
    r"\$\{vault:"
    r"(?P<alias>[a-z][a-z0-9_-]{0,31})"
    r"/(?P<path>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}(?:/[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}){0,14})"
    r"#(?P<key>[A-Za-z0-9_.-]{1,128})"
    r"(?:@(?P<version>[1-9][0-9]{0,9}))?"
    r"\}"
)
# `$${` is the escape of a literal `${`, so it is stepped over first.
_START = re.compile(r"\$\$\{|\$\{vault:")


class MalformedReference(ValueError):
    """Something starts like a secret reference and is none. `str(error)` is the reason; it quotes no content."""


class HeldText(str):
    """Stands among parsed values for one that is in Vault; as a text it is empty."""

    reference: Reference

    def __new__(cls, reference: Reference) -> HeldText:
        made = super().__new__(cls)
        made.reference = reference
        return made


def is_parsed(text: str) -> bool:
    """Whether a value holds more than itself: placeholders, references, or encrypted text."""
    return "${" in text or text.startswith(CIPHER) or isinstance(text, HeldText)


def parse_value(text: str) -> str | Template:
    """Recognise an encrypted value, which is one as a whole, or else secret references. Raises MalformedReference."""
    if isinstance(text, HeldText):
        return Template((text.reference,))
    if text.startswith(CIPHER):
        return Template((Reference(CIPHER, text.removeprefix(CIPHER), "", None, text),))
    return parse_template(text)


def parse_template(text: str) -> str | Template:
    """Recognise the secret references in a file's own text; text without any is returned as it is.

    Escapes (`$${`) and placeholders are left for `placeholders`, which runs afterwards: what substitution assembles
    never passes through here. Raises MalformedReference.
    """
    parts: list[str | Reference] = []
    literal_from = position = 0
    while start := _START.search(text, position):
        position = start.end()
        if start[0] == "$${":
            continue
        match = _REFERENCE.match(text, start.start())
        if match is None:
            raise MalformedReference(
                "a secret reference must read ${vault:alias/path#key} or ${vault:alias/path#key@1}"
            )
        if start.start() > literal_from:
            parts.append(text[literal_from : start.start()])
        parts.append(_reference(match))
        literal_from = position = match.end()
    if not parts:
        return text
    if literal_from < len(text):
        parts.append(text[literal_from:])
    return Template(tuple(parts))


def _reference(match: re.Match[str]) -> Reference:
    version = int(match["version"]) if match["version"] else None
    return Reference(match["alias"], match["path"], match["key"], version, match[0])
