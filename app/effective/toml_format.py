"""Owns the `toml` format."""

from __future__ import annotations

from typing import Any

import tomlkit

from app.model import Json


def render_toml(document: dict[str, Json]) -> str:
    """TOML 1.0. It has no null: keys and list items that are null are left out.

    Keys keep their order but for those with maps, which must follow the others of their table.
    """
    return tomlkit.dumps(_ordered(document))


def _ordered(value: Json) -> Any:
    if isinstance(value, list):
        return [_ordered(child) for child in value if child is not None]
    if not isinstance(value, dict):
        return value
    entries = {key: _ordered(child) for key, child in value.items() if child is not None}
    return dict(sorted(entries.items(), key=lambda entry: isinstance(entry[1], dict)))
