"""A configuration as environment variables, by the names and texts of the server's format `env`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from config_client import keys

_OTHER = re.compile(r"[^A-Z0-9_]")
_BARE = re.compile(r"[A-Za-z0-9_./:@%+,-]*")
_SHELL_SPECIAL = re.compile(r'([\\"$`])')


def variables(document: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """`db.pool-size[0]` becomes `DB_POOL_SIZE_0`. Raises ValueError when two keys become one, or a text holds NUL."""
    found: dict[str, str] = {}
    names: dict[str, str] = {}
    for path, value in _scalars(document):
        name, key = prefix + _name(path, bare=not prefix), keys.text_of(path)
        if name in found:
            raise ValueError(f"{names[name]} and {key} both become {name}")
        if "\0" in value or not name:
            raise ValueError(f"{key}: an environment variable cannot hold it")
        found[name], names[name] = value, key
    return found


def lines(found: Mapping[str, str]) -> str:
    """As a shell or a reader of dotenv files takes them."""
    return "".join(f"{name}={_quoted(value)}\n" for name, value in found.items())


def _scalars(document: Any) -> Iterator[tuple[keys.Path, str]]:
    """An empty list is "", an empty map vanishes."""
    for path, value in keys.leaves(document):
        if not isinstance(value, dict):
            yield path, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or isinstance(value, list) else json.dumps(value)


def _name(path: keys.Path, *, bare: bool) -> str:
    name = "_".join(_OTHER.sub("_", str(segment).upper()) for segment in path)
    return f"_{name}" if bare and (not name or name[0].isdigit()) else name


def _quoted(text: str) -> str:
    if _BARE.fullmatch(text):
        return text
    return f"'{text}'" if "'" not in text else '"' + _SHELL_SPECIAL.sub(r"\\\1", text) + '"'
