"""Owns editing JSON by key: the order and the indentation stay."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from app.effective.edit_tree import EditRefused, drop, put
from app.model import Json, KeyPath

_INDENT = re.compile(r"^\s*\{\n([ \t]+)\"")


def edit_json(text: str, _document: int, changes: Mapping[KeyPath, Json], unset: Sequence[KeyPath]) -> str:
    """Raises EditRefused for a text that is no object, or has no such key."""
    values = json.loads(text) if text.strip() else {}
    if not isinstance(values, dict):
        raise EditRefused("not an object at its top level")
    for path in unset:
        drop(values, path)
    for path, value in changes.items():
        put(values, path, value)
    return json.dumps(values, indent=_indent(text), ensure_ascii=False) + (
        "\n" if text.endswith("\n") or not text else ""
    )


def _indent(text: str) -> str | None:
    """That of the first key; two blanks for a new text, None for one on a single line."""
    found = _INDENT.search(text)
    return found[1] if found else None if text.strip() not in ("", "{}") else "  "
