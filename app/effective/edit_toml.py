"""Owns editing TOML by key: tomlkit keeps comments, order and spelling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tomlkit
from tomlkit.exceptions import TOMLKitError

from app.effective.edit_tree import EditRefused, drop, put
from app.model import Json, KeyPath

#: tomlkit takes seconds for a megabyte; whoever keeps such a file edits it as text.
_MAX_TEXT = 64 << 10


def edit_toml(text: str, _document: int, changes: Mapping[KeyPath, Json], unset: Sequence[KeyPath]) -> str:
    """Raises EditRefused for null, for texts of more than 64 KiB, and for what tomlkit cannot edit."""
    if len(text) > _MAX_TEXT:
        raise EditRefused("too large to be edited by key; edit it as text")
    if any(_holds_null(value) for value in changes.values()):
        raise EditRefused("TOML has no null")
    try:
        document = tomlkit.parse(text)
        for path in unset:
            drop(document, path)
        for path, value in changes.items():
            put(document, path, value)
        return tomlkit.dumps(document)
    except (TOMLKitError, ValueError, TypeError, KeyError, IndexError) as exc:
        if isinstance(exc, EditRefused):
            raise
        raise EditRefused("this file cannot be edited by key; edit it as text") from exc


def _holds_null(value: Json) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_null, value.values()))
    return any(map(_holds_null, value)) if isinstance(value, list) else value is None
