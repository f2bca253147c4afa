"""Owns which files configure a target, and in which order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.model import Target

#: Strongest first.
EXTENSIONS = ("properties", "yml", "yaml", "toml", "json")
SHARED = "application"

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NAMES = frozenset({"service", "env", "label"})
_ILLEGAL = re.compile(r"[*?\[\]\\\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that configures a target if it exists. `env` is the one in its name, None without one."""

    path: str
    env: str | None


def checked_search_path(pattern: str) -> str:
    """A search path in normal form: relative, no trailing slash, "" for the root.

    It may hold `{service}`, `{env}` and `{label}`. Raises ValueError for `..`, absolute paths, dot-folders, globs and
    other placeholders.
    """
    if pattern.startswith("/"):
        raise ValueError(f"search path {pattern!r} is absolute")
    if _ILLEGAL.search(pattern):
        raise ValueError(f"search path {pattern!r} holds a glob, a backslash or a control character")
    segments = [segment for segment in pattern.split("/") if segment not in ("", ".")]
    if any(segment.startswith(".") for segment in segments):
        raise ValueError(f"search path {pattern!r} leads upwards or into a dot-folder")
    unknown = [name for name in _PLACEHOLDER.findall(pattern) if name not in _NAMES]
    if unknown or re.search(r"[{}]", _PLACEHOLDER.sub("", pattern)):
        raise ValueError(f"search path {pattern!r} may hold {{service}}, {{env}} and {{label}} only")
    return "/".join(segments)


def locations(target: Target, search_paths: Sequence[str]) -> tuple[str, ...]:
    """The folders of a target, strongest first: later search paths rank higher, and within `{env}` later envs."""
    found: dict[str, None] = {}
    for pattern in reversed(search_paths or ("",)):
        checked = checked_search_path(pattern)
        for env in reversed(target.envs):
            found[checked.format(service=target.service, env=env, label=target.candidate or target.label)] = None
    return tuple(found)


def candidates(target: Target, search_paths: Sequence[str] = ("",)) -> tuple[Candidate, ...]:
    """Every file that would configure the target, strongest first, absent ones too.

    Sort keys, strongest first: env in the file's name (the last env of the request wins), search location, name
    (the service before `application`), extension. Raises ValueError for a bad search path. Pure; any thread.
    """
    found: dict[str, Candidate] = {}
    folders = locations(target, search_paths)
    for env in (*reversed(target.envs), None):
        for folder in folders:
            for path in _files(target.service, env, folder):
                found.setdefault(path, Candidate(path, env))
    return tuple(found.values())


def _files(service: str, env: str | None, folder: str) -> Iterator[str]:
    for name in (service, SHARED):
        stem = name if env is None else f"{name}-{env}"
        for extension in EXTENSIONS:
            yield f"{folder}/{stem}.{extension}" if folder else f"{stem}.{extension}"
