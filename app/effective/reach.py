"""Owns whom a file of the repository concerns: the other way round from `precedence`, which names a target's files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.effective.precedence import DEFAULT_ENV, EXTENSIONS, SHARED, STAR, checked_search_path
from app.model import NAME

#: Where the repository keeps what is about the server: schemas, windows of a freeze, the list of targets.
OWN_FOLDER = ".config-server"
_FIELD = re.compile(r"\{(service|env|label)\}")


@dataclass(frozen=True, slots=True)
class Reach:
    """A set of targets: one service or all (None), in one env or all (None)."""

    service: str | None
    env: str | None

    def covers(self, service: str, env: str) -> bool:
        return self.service in (None, service) and self.env in (None, env)


EVERYTHING = Reach(None, None)
#: What a folder says of whom it is for where its name can be read in several ways: somebody.
_SOMEBODY: Mapping[str, str] = {"anybody": ""}


@dataclass(frozen=True, slots=True)
class _Place:
    """A search path: what matches its folders, and what matches them and all below. `env` is the one in its text.

    Not `certain` where the name of a folder does not say how far the service goes (`{label}-{service}`).
    """

    whole: re.Pattern[str]
    below: re.Pattern[str]
    env: str | None = None
    certain: bool = True

    def matches(self, folder: str, *, whole: bool) -> Iterator[re.Match[str]]:
        """Each way to read it: a label may be of several segments, so what lies below may be another one's folder."""
        if whole or "label" not in self.whole.groupindex:
            found = [(self.whole if whole else self.below).fullmatch(folder)]
        else:
            parts = folder.split("/")
            found = [self.whole.fullmatch("/".join(parts[:length])) for length in range(1, len(parts) + 1)]
        yield from filter(None, found)


class Layout:
    """How the repository is laid out: its search paths (weakest first) and the legal envs (none: any). Immutable."""

    def __init__(self, search_paths: Sequence[str], envs: Sequence[str]) -> None:
        self._envs = tuple(envs)
        checked = map(checked_search_path, search_paths or ("",))
        self._places = tuple(place for path in checked for place in _places(path, self._envs))
        self._has_stars = any("*" in path for path in search_paths)

    def reaches(self, path: str) -> frozenset[Reach]:
        """Everybody whose configuration or plain files a change of `path` may change; empty when it is nobody's.

        While the envs are not known, `pay-admin-prod.yml` may be three services' file: then all of them are meant.
        """
        if path == OWN_FOLDER or path.startswith(f"{OWN_FOLDER}/"):
            return frozenset((EVERYTHING,))
        folder, _, name = path.rpartition("/")
        stem, _, extension = name.rpartition(".")
        if extension in EXTENSIONS and stem:
            found = frozenset(reach for bound in self._bound(folder, whole=True) for reach in self._named(stem, bound))
            if found:
                return found
        below = list(self._bound(folder, whole=False))
        named = [bound for bound in below if bound]
        return frozenset(Reach(bound.get("service"), bound.get("env")) for bound in named or below)

    def is_configuration(self, path: str) -> bool:
        """Whether a file lies where somebody's configuration lies, and is called like one."""
        folder, _, name = path.rpartition("/")
        return name.rpartition(".")[2] in EXTENSIONS and any(True for _ in self._bound(folder, whole=True))

    def starred(self, paths: Iterable[str]) -> frozenset[str]:
        """`paths` as search paths with `*` name them (`config/*/pay.yml`): what a target depends on before it is known
        which folders there are."""
        if not self._has_stars:
            return frozenset()
        return frozenset(form for path in paths for form in self._starred(path))

    def _starred(self, path: str) -> Iterator[str]:
        folder, slash, name = path.rpartition("/")
        for pattern in (place.whole for place in self._places):
            match = pattern.fullmatch(folder)
            fields = set(pattern.groupindex.values())
            stars = [number for number in range(1, pattern.groups + 1) if number not in fields]
            if match is None or not stars:
                continue
            form, at = "", 0
            for number in stars:
                form, at = f"{form}{folder[at : match.start(number)]}*", match.end(number)
            yield f"{form}{folder[at:]}{slash}{name}"

    def targets(self, paths: Iterable[str]) -> frozenset[tuple[str, str]]:
        """(service, env) of all that these files speak of: the services that are named, in each env that is known.

        `E` is an env if it is a legal one, or `application-E.*` is there, or both `S.*` and `S-E.*` are.
        """
        stems = frozenset(self._stems(paths))
        envs = frozenset(self._envs) or frozenset(_envs_among(stems))
        services = {name for _, name in stems if not _is_of_env(name, envs)}
        services |= {name[: -len(env) - 1] for _, name in stems for env in envs if name.endswith(f"-{env}")}
        services |= {bound for bound, _ in stems if bound}
        services -= {SHARED, ""}
        return frozenset((service, env) for service in services if NAME.fullmatch(service) for env in envs)

    def _bound(self, folder: str, *, whole: bool) -> Iterator[Mapping[str, str]]:
        """What the search paths that hold `folder` make of it: the names that their fields stand for."""
        for place in self._places:
            for match in place.matches(folder, whole=whole):
                bound = {name: text for name, text in match.groupdict().items() if text is not None}
                yield (bound | ({"env": place.env} if place.env else {})) if place.certain else _SOMEBODY

    def _stems(self, paths: Iterable[str]) -> Iterator[tuple[str | None, str]]:
        """(service that the folder names, file's name without extension) of every configuration file."""
        folders: dict[str, list[str | None]] = {}
        for path in paths:
            folder, _, name = path.rpartition("/")
            stem, _, extension = name.rpartition(".")
            if extension not in EXTENSIONS or not stem:
                continue
            if folder not in folders:
                folders[folder] = [bound.get("service") for bound in self._bound(folder, whole=True)]
            for service in folders[folder]:
                yield service, stem

    def _named(self, stem: str, bound: Mapping[str, str]) -> Iterator[Reach]:
        service, env = bound.get("service"), bound.get("env")
        for name, own_env in self._readings(stem):
            if name == SHARED:
                yield Reach(service, own_env or env)
            elif service in (None, name):
                yield Reach(name, own_env or env)
            else:
                continue
            if env is not None and own_env not in (None, env):
                yield Reach(service if name == SHARED else name, env)

    def _readings(self, stem: str) -> Iterator[tuple[str, str | None]]:
        """(service, env in the file's name) of each way to read it."""
        if self._envs:
            env = next((env for env in (*self._envs, DEFAULT_ENV) if stem.endswith(f"-{env}")), None)
            yield (stem[: -len(env) - 1], env) if env else (stem, None)
            return
        yield stem, None
        for dash in (index for index, letter in enumerate(stem) if letter == "-" and 0 < index < len(stem) - 1):
            yield stem[:dash], stem[dash + 1 :]


def _places(path: str, envs: Sequence[str]) -> list[_Place]:
    """One, or one for each legal env where a segment names both a service and an env: either may hold a hyphen."""
    crowded = [fields for fields in (set(_FIELD.findall(each)) for each in path.split("/")) if len(fields) > 1]
    if envs and crowded and all(fields == {"service", "env"} for fields in crowded):
        return [_Place(*_pattern(path.replace("{env}", env)), env=env) for env in (*envs, DEFAULT_ENV)]
    return [_Place(*_pattern(path), certain=not crowded)]


def _pattern(path: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What matches the search path's folders, and what matches them and all below."""
    seen: set[str] = set()

    def group(name: str) -> str:
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>[^/.][^/]*)" if name != "label" else "(?P<label>.+?)"

    pieces = _FIELD.split(path)
    text = "".join(group(piece) if index % 2 else _literal(piece) for index, piece in enumerate(pieces))
    below = f"{text}(?:/.*)?" if text else ".*"
    return re.compile(text), re.compile(below, re.DOTALL)


def _literal(text: str) -> str:
    """A piece of a search path without fields; what `*` stands for is no dot-folder."""
    segments = (
        f"(?![.])(?:{f'({STAR})'.join(map(re.escape, each.split('*')))})" if "*" in each else re.escape(each)
        for each in text.split("/")
    )
    return "/".join(segments)


def _envs_among(stems: frozenset[tuple[str | None, str]]) -> Iterator[str]:
    names = {name for _, name in stems}
    for name in names:
        for dash in (index for index, letter in enumerate(name) if letter == "-"):
            service, env = name[:dash], name[dash + 1 :]
            if NAME.fullmatch(env) and (service == SHARED or service in names):
                yield env


def _is_of_env(name: str, envs: Iterable[str]) -> bool:
    return any(name.endswith(f"-{env}") for env in envs)
