"""From which repositories a target is read: the configuration repository, or further ones that are meant for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.cache import LocalCache
from app.effective import matching
from app.engine.targets import Targets
from app.engine.world import Head, World, joined
from app.errors import RepositoryUnavailable
from app.model import CANDIDATE, OF, Target, parts_of
from app.repository import FurtherRepository


class Locates(Protocol):
    """See Targets, which has the labels of one repository."""

    def locate(
        self, world: World, service: str, envs: tuple[str, ...], label: str | None, at: int | None = None
    ) -> tuple[Head, Target]: ...

    def is_protected(self, world: World, head: Head) -> bool: ...

    def repositories(self, service: str, envs: tuple[str, ...]) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Further:
    """A further repository: how it is described, and its labels."""

    described: FurtherRepository
    targets: Targets


class Placement:
    """Thread-safe. The repositories that match answer in the place of the configuration repository; the first of
    `further` that does is the strongest.

    The label that the strongest has by default stands for the default one of each; any other must be in all of them.
    """

    def __init__(self, main: Targets, further: Sequence[Further]) -> None:
        self._main = main
        self._further = {each.described.name: each for each in further}
        self._patterns: Mapping[str, Sequence[str]] = {
            name: each.described.patterns for name, each in self._further.items()
        }
        self._matching: LocalCache[tuple[str, tuple[str, ...]], tuple[str, ...]] = LocalCache(4096)
        self._joined: LocalCache[tuple[object, ...], Head] = LocalCache(4096)

    def repositories(self, service: str, envs: tuple[str, ...]) -> tuple[str, ...]:
        """The names of those that a target is read from, the strongest first; none for the configuration repository."""
        known = self._matching.get((service, envs))
        if known is None:
            known = matching(self._patterns, service.split(","), envs)
            self._matching.put((service, envs), known)
        return known

    def locate(
        self, world: World, service: str, envs: tuple[str, ...], label: str | None, at: int | None = None
    ) -> tuple[Head, Target]:
        """As Targets.locate. RepositoryUnavailable too while nothing was fetched of a repository."""
        asked = self._asked(service, envs, label)
        if not asked:
            return self._main.locate(world, service, envs, label, at)
        parts = [(name, self._of(world, name, service, envs, its_own, at)) for name, its_own in asked]
        head = self._together(world, parts)
        return head, Target(service, envs, head.label)

    def is_protected(self, world: World, head: Head) -> bool:
        """As Targets.is_protected; of several repositories only where each one's label is."""
        if OF not in head.label:
            return self._main.is_protected(world, head)
        return all(self._is_protected(world.further[name], name, label) for name, label in parts_of(head.label))

    def _asked(self, service: str, envs: tuple[str, ...], label: str | None) -> Sequence[tuple[str, str | None]]:
        """Whom to ask for which label; None is the default one."""
        if label is not None and OF in label:
            return parts_of(label)
        if label is not None and CANDIDATE in label:
            return ()
        names = self.repositories(service, envs)
        default = self._further[names[0]].described.label if names else None
        return [(name, None if label == default else label) for name in names]

    def _of(
        self, world: World, name: str, service: str, envs: tuple[str, ...], label: str | None, at: int | None
    ) -> Head:
        its_own = world.further[name]
        if not its_own.heads:
            raise RepositoryUnavailable(f"nothing has been fetched of the repository {name} yet", retry_after=2)
        return self._further[name].targets.locate(its_own, service, envs, label, at)[0]

    def _is_protected(self, world: World, name: str, label: str) -> bool:
        targets = self._further[name].targets
        return targets.is_protected(world, targets.head(world, label))

    def _together(self, world: World, parts: Sequence[tuple[str, Head]]) -> Head:
        key = (world.rev, *((name, head.label, head.commit, head.former[:1]) for name, head in parts))
        known = self._joined.get(key)
        if known is None:
            known = joined(parts)
            self._joined.put(key, known)
        return known
