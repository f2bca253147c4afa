"""Owns where the files of a target are looked for: in the configuration repository, or in further ones one by one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from app.effective.precedence import STAR, Candidate, candidates, locations
from app.effective.schema_file import schema_paths
from app.model import OF, Target, parts_of


class Places:
    """`search_paths` by repository, "" being the configuration repository itself. Immutable.

    A path of a further repository is written `NAME:PATH`. What lies in the first of several is stronger than whatever
    lies in the next, as Spring Cloud Config puts repositories together.
    """

    def __init__(self, search_paths: Mapping[str, Sequence[str]]) -> None:
        self._search_paths = {name: tuple(paths) for name, paths in search_paths.items()}
        self._fielded = {name: [each for each in paths if "{" in each] for name, paths in self._search_paths.items()}
        self._roots = {name: [_root(each) for each in paths] for name, paths in self._fielded.items()}
        self.has_stars = any("*" in each for paths in search_paths.values() for each in paths)

    def candidates(self, target: Target, folders: Collection[str] | None) -> tuple[Candidate, ...]:
        """Every file that would configure the target, strongest first (see precedence.candidates)."""
        if not target.is_further:
            return candidates(target, self._search_paths[""], folders)
        return tuple(
            Candidate(f"{name}{OF}{each.path}", each.env)
            for name, its_own in _each(target)
            for each in candidates(its_own, self._search_paths[name], _of(name, folders))
        )

    def spots(self, target: Target, folders: Collection[str] | None, file: str) -> Iterator[str]:
        """The paths at which a plain file of this name may lie, strongest first."""
        for name, its_own in _each(target):
            for folder in locations(its_own, self._search_paths[name], _of(name, folders)):
                yield f"{name}{OF if name else ''}{folder}{'/' if folder else ''}{file}"

    def schema_paths(self, target: Target) -> tuple[str, ...]:
        """The schemas that hold for it."""
        return tuple(
            f"{name}{OF if name else ''}{path}" for name, _ in _each(target) for path in schema_paths(target.service)
        )

    def is_anothers(self, path: str, target: Target, folders: Collection[str] | None) -> bool:
        """Whether it lies where folders are named after services, envs or labels, and not in one of this target's."""
        name, _, path = path.partition(OF) if target.is_further else ("", "", path)
        if not any(root.match(path) for root in self._roots[name]):
            return False
        its_own = next(each for part, each in _each(target) if part == name)
        mine = locations(its_own, self._fielded[name], _of(name, folders))
        return not any(path.startswith(f"{folder}/") for folder in mine)


def _each(target: Target) -> Iterator[tuple[str, Target]]:
    """Each repository that it is read from, and the target as if there were no other."""
    if not target.is_further:
        yield "", target
        return
    for name, label in parts_of(target.label):
        yield name, Target(target.service, target.envs, label)


def _of(name: str, folders: Collection[str] | None) -> Collection[str] | None:
    """The folders of one repository among those of all."""
    if not name or folders is None:
        return folders
    prefix = f"{name}{OF}"
    return [folder.removeprefix(prefix) for folder in folders if folder.startswith(prefix)]


def _root(pattern: str) -> re.Pattern[str]:
    """Matches how a path begins that lies where a search path with fields leads."""
    return re.compile(STAR.join(map(re.escape, pattern.partition("{")[0].split("*"))))
