"""Which coordinates exist, where their label stands, and whether secrets may be filled in there."""

from __future__ import annotations

from collections.abc import Sequence

from app.cache import LocalCache
from app.engine.world import Head, World
from app.errors import RepositoryUnavailable, UnknownLabel, UnknownTarget
from app.model import CANDIDATE, COMMIT, RefKind, Target
from app.repository import GitConfigBackend


class Targets:
    """Thread-safe. `envs` are the legal envs (empty: all); `secret_labels` are protected beside the default label.

    `served_only`: a commit is asked for by its id only if a label that is served leads to it, else any of the mirror's.
    """

    def __init__(
        self,
        repository: GitConfigBackend,
        *,
        envs: Sequence[str],
        secret_labels: Sequence[str],
        served_only: bool = False,
    ) -> None:
        self._repository = repository
        self._envs = frozenset(envs)
        self._secret_labels = tuple(secret_labels)
        self._served_only = served_only
        # Reachability asks Git, so it is remembered per revision: a branch that goes takes its commits with it.
        self._reachable: LocalCache[tuple[str, str], bool] = LocalCache(1024)
        self._stood: LocalCache[tuple[str, int], str] = LocalCache(1024)
        self._ancestors: LocalCache[tuple[str, str], bool] = LocalCache(1024)

    def locate(
        self, world: World, service: str, envs: tuple[str, ...], label: str | None, at: int | None = None
    ) -> tuple[Head, Target]:
        """The head of the label and the target with the label's name filled in. Raises UnknownTarget, UnknownLabel.

        With `at` (Unix seconds): of the commit at which the label stood then, by the committers' times along first
        parents, as if that commit had been asked for. RepositoryUnavailable when the default label is not there.
        """
        if self._envs:
            self._check_names(service, envs)
        head = self.head(world, label)
        if at is not None:
            head = self._stood_at(world, head, at)
        return head, Target(service, envs, _name(label, head))

    def is_protected(self, world: World, head: Head) -> bool:
        """The label policy: else whoever can push a branch could read production's secrets."""
        protected = (world.default_label, *self._secret_labels)
        if head.kind is RefKind.BRANCH:
            return head.label in protected
        if head.kind is RefKind.TAG and head.label in self._secret_labels:
            return True
        tips = [world.heads[name].commit for name in protected if name in world.heads]
        return any(self._is_ancestor(head.commit, tip) for tip in tips)

    def repositories(self, service: str, envs: tuple[str, ...]) -> tuple[str, ...]:
        """The further repositories that a target is read from: see Placement."""
        return ()

    def _check_names(self, service: str, envs: tuple[str, ...]) -> None:
        """`pay` + `admin-prod` and `pay-admin` + `prod` name the same file; the list of envs tells them apart."""
        if not self._envs.issuperset(envs):
            raise UnknownTarget("no such env")
        if any(name.endswith(f"-{env}") for name in service.split(",") for env in self._envs):
            raise UnknownTarget("a service's name may not end in -ENV")

    def head(self, world: World, label: str | None) -> Head:
        """Where a branch, tag or reachable commit stands. Raises UnknownLabel, RepositoryUnavailable."""
        name = world.default_label if label is None else label
        head = world.stands(name)
        if head is not None:
            return head
        if label is None:  # never 404: a client would take that for "no configuration here", and start without
            raise RepositoryUnavailable("the default label is not in the repository")
        if COMMIT.fullmatch(name) and self._is_reachable(world, name):
            return Head(name, RefKind.COMMIT, name, "")
        raise UnknownLabel("no branch, tag or reachable commit has this name")

    def _stood_at(self, world: World, head: Head, at: int) -> Head:
        key = (head.commit, at)
        commit = self._stood.get(key)
        if commit is None:
            commit = self._repository.stood_at(head.commit, at)
            self._stood.put(key, commit)
        if not commit:
            raise UnknownLabel("the label has no commit of that time")
        self._reachable.put((str(world.rev), commit), True)
        self._ancestors.put((commit, head.commit), True)
        return Head(commit, RefKind.COMMIT, commit, "")

    def _is_reachable(self, world: World, commit: str) -> bool:
        key = (str(world.rev), commit)
        known = self._reachable.get(key)
        if known is None:
            known = self._repository.reachable(commit) and (
                not self._served_only or any(self._is_ancestor(commit, head.commit) for head in world.heads.values())
            )
            self._reachable.put(key, known)
        return known

    def _is_ancestor(self, commit: str, tip: str) -> bool:
        if commit == tip:
            return True
        known = self._ancestors.get((commit, tip))
        if known is None:
            known = self._repository.is_ancestor(commit, tip)
            self._ancestors.put((commit, tip), known)
        return known


def _name(label: str | None, head: Head) -> str:
    """The label of a target that stands at `head`; a candidate's, for as long as it is given, names both."""
    given = label is not None and CANDIDATE in label and label.partition(CANDIDATE)[2] == head.label
    return label if given and label is not None else head.label
