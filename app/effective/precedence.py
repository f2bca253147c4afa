"""Owns which files configure a target, and in which order."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from app.model import Target

#: Strongest first.
EXTENSIONS = ("properties", "yml", "yaml", "toml", "json")
SHARED = "application"
#: What Spring's clients ask for before they know their profiles: legal whatever envs are listed.
DEFAULT_ENV = "default"

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NAMES = frozenset({"service", "env", "label"})
_ILLEGAL = re.compile(r"[?\[\]\\\x00-\x1f\x7f]|\*\*")
#: What `*` stands for in a search path: a segment or a part of one, but no dot-folder.
STAR = "[^/]*"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that configures a target if it exists. `env` is the one in its name, None without one."""

    path: str
    env: str | None


def checked_search_path(pattern: str) -> str:
    """A search path in normal form: relative, no trailing slash, "" for the root.

    It may hold `{service}`, `{env}`, `{label}`, and `*` for a segment or a part of one, though not in a segment with
    a placeholder. Raises ValueError for `..`, absolute paths, dot-folders, other globs and other placeholders.
    """
    if pattern.startswith("/"):
        raise ValueError(f"search path {pattern!r} is absolute")
    if _ILLEGAL.search(pattern):
        raise ValueError(f"search path {pattern!r} holds a glob other than *, a backslash or a control character")
    segments = [segment for segment in pattern.split("/") if segment not in ("", ".")]
    if any(segment.startswith(".") for segment in segments):
        raise ValueError(f"search path {pattern!r} leads upwards or into a dot-folder")
    unknown = [name for name in _PLACEHOLDER.findall(pattern) if name not in _NAMES]
    if unknown or re.search(r"[{}]", _PLACEHOLDER.sub("", pattern)):
        raise ValueError(f"search path {pattern!r} may hold {{service}}, {{env}} and {{label}} only")
    if any("*" in segment and "{" in segment for segment in segments):
        raise ValueError(f"search path {pattern!r} holds * beside a placeholder in one segment")
    return "/".join(segments)


def locations(target: Target, search_paths: Sequence[str], folders: Collection[str] | None = None) -> tuple[str, ...]:
    """The folders of a target, strongest first: later search paths rank higher, and within `{env}` later envs.

    A path with `*` stands for those of `folders` that it matches, later in the alphabet higher; for itself while
    `folders` is None.
    """
    found: dict[str, None] = {}
    for pattern in reversed(search_paths or ("",)):
        checked = checked_search_path(pattern)
        for env in reversed(target.envs):
            for service in reversed(target.services):
                path = checked.format(service=service, env=env, label=target.candidate or target.label)
                for folder in (path,) if folders is None or "*" not in path else _matching(path, folders):
                    found[folder] = None
    return tuple(found)


def _matching(path: str, folders: Collection[str]) -> list[str]:
    shape = re.compile("/".join(_segment(segment) for segment in path.split("/")))
    return sorted((folder for folder in folders if shape.fullmatch(folder)), reverse=True)


def _segment(text: str) -> str:
    return f"(?![.]){STAR.join(map(re.escape, text.split('*')))}" if "*" in text else re.escape(text)


def candidates(
    target: Target, search_paths: Sequence[str] = ("",), folders: Collection[str] | None = None
) -> tuple[Candidate, ...]:
    """Every file that would configure the target, strongest first, absent ones too.

    Sort keys, strongest first: env in the file's name (the last env of the request wins), search location, name
    (the service before `application`; of several services the last), extension. `folders` are those of the repository,
    for `*` in search paths (see `locations`). Raises ValueError for a bad search path. Pure; any thread.
    """
    found: dict[str, Candidate] = {}
    places = locations(target, search_paths, folders)
    for env in (*reversed(target.envs), None):
        for folder in places:
            for path in _files(target.services, env, folder):
                found.setdefault(path, Candidate(path, env))
    return tuple(found.values())


def _files(services: Sequence[str], env: str | None, folder: str) -> Iterator[str]:
    for name in (*reversed(services), SHARED):
        stem = name if env is None else f"{name}-{env}"
        for extension in EXTENSIONS:
            yield f"{folder}/{stem}.{extension}" if folder else f"{stem}.{extension}"
