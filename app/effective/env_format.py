"""Owns the `env` format: lines that a POSIX shell can source and dotenv readers understand."""

from __future__ import annotations

import re

from app.effective.keys import key_text
from app.effective.properties_format import Leaves, text_of
from app.errors import FormatCollision, Unprocessable
from app.model import KeyPath

_OTHER = re.compile(r"[^A-Z0-9_]")
_BARE = re.compile(r"[A-Za-z0-9_./:@%+,-]*")
_SHELL_SPECIAL = re.compile(r'([\\"$`])')


def render_env(leaves: Leaves) -> str:
    """`NAME=value` lines. Raises FormatCollision when two keys become one name, Unprocessable for a NUL in a value."""
    seen: dict[str, KeyPath] = {}
    lines: list[str] = []
    for path, value in leaves:
        name = variable_name(path)
        if name in seen:
            raise FormatCollision(f"{key_text(seen[name])} and {key_text(path)} both become {name}")
        seen[name] = path
        text = text_of(value)
        if "\0" in text:
            raise Unprocessable(f"{key_text(path)}: an environment variable cannot hold a NUL")
        lines.append(f"{name}={quoted(text)}\n")
    return "".join(lines)


def variable_name(path: KeyPath) -> str:
    """`db.pool-size[0]` -> `DB_POOL_SIZE_0`; a leading digit gets `_` before it, as names must not begin with one."""
    name = "_".join(_OTHER.sub("_", str(segment).upper()) for segment in path)
    return f"_{name}" if not name or name[0].isdigit() else name


def quoted(text: str) -> str:
    """Bare when harmless; else in single quotes, which every reader takes literally; else, as it holds one itself, in
    double quotes with the shell's escapes."""
    if _BARE.fullmatch(text):
        return text
    if "'" not in text:
        return f"'{text}'"
    return '"' + _SHELL_SPECIAL.sub(r"\\\1", text) + '"'
