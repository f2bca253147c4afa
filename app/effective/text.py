"""Owns placeholders in plain files: `${key}` filled from a finished document, in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.effective.placeholders import (
    MAX_TOTAL_LENGTH,
    BadPlaceholder,
    Part,
    Placeholder,
    as_text,
    parse_parts,
    tokenized,
)
from app.effective.references import parse_template
from app.model import Reference, Scalar, Template


def fill_text(text: str, leaves: Mapping[str, Scalar]) -> str:
    """`text` with `${key}` and `${key:default}` filled from `leaves` (key path text -> value), `$${` as `${`.

    What is filled in is final: a value that looks like a placeholder or reference is not looked at again. Unknown keys
    without default and secret references stay as written. Linear; at most 8 MiB.
    Raises MalformedReference, BadPlaceholder.
    """
    template = parse_template(text)
    parts = parse_parts(list(tokenized(template.parts if isinstance(template, Template) else (template,))))
    return "".join(_filled(parts, leaves))


def _filled(parts: Sequence[Part], leaves: Mapping[str, Scalar]) -> list[str]:
    out: list[str] = []
    length = 0
    for part in parts:
        out.append(_one(part, leaves))
        length += len(out[-1])
        if length > MAX_TOTAL_LENGTH:
            raise BadPlaceholder("the file becomes too long when its placeholders are filled")
    return out


def _one(part: Part, leaves: Mapping[str, Scalar]) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Reference):
        return part.text
    return _substituted(part, leaves)


def _substituted(placeholder: Placeholder, leaves: Mapping[str, Scalar]) -> str:
    key = "".join(_filled(placeholder.key, leaves))
    if key in leaves:
        value = leaves[key]
        return value if isinstance(value, str) else as_text(value)
    if placeholder.default is not None:
        return "".join(_filled(placeholder.default, leaves))
    return "".join(part if isinstance(part, str) else part.text for part in placeholder.source)
