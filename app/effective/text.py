"""Owns placeholders in plain files: `${key}` filled from a finished document, in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.effective.placeholders import _as_text, _parse, _Part, _Placeholder, _tokens
from app.effective.references import parse_template
from app.model import Reference, Scalar, Template


def fill_text(text: str, leaves: Mapping[str, Scalar]) -> str:
    """`text` with `${key}` and `${key:default}` filled from `leaves` (key path text -> value), `$${` as `${`.

    What is filled in is final: a value that looks like a placeholder or reference is not looked at again. Unknown keys
    without default and secret references stay as written. Raises MalformedReference, BadPlaceholder. Linear.
    """
    template = parse_template(text)
    parts = _parse(list(_tokens(template.parts if isinstance(template, Template) else (template,))))
    return "".join(_filled(parts, leaves))


def _filled(parts: Sequence[_Part], leaves: Mapping[str, Scalar]) -> list[str]:
    return [_one(part, leaves) for part in parts]


def _one(part: _Part, leaves: Mapping[str, Scalar]) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Reference):
        return part.text
    return _substituted(part, leaves)


def _substituted(placeholder: _Placeholder, leaves: Mapping[str, Scalar]) -> str:
    key = "".join(_filled(placeholder.key, leaves))
    if key in leaves:
        value = leaves[key]
        return value if isinstance(value, str) else _as_text(value)
    if placeholder.default is not None:
        return "".join(_filled(placeholder.default, leaves))
    return "".join(part if isinstance(part, str) else part.text for part in placeholder.source)
