"""What may be served where commits must be signed: heads that an allowed signer vouches for, and what they follow from.

A signature covers all of the history before it. So a head is vouched for if it is signed, or if a vouched branch leads
to it; a branch whose head is neither stays at the last one that was.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

import structlog

from app.engine.world import Head, World
from app.errors import RepositoryUnavailable
from app.model import RefKind, Refs
from app.notify import Cursor
from app.repository import GitConfigBackend

log = structlog.get_logger(__name__)

#: So far back along first parents a signed commit is looked for when a branch has none that was served before.
REACH = 50


class Vouching(Protocol):
    """Raises RepositoryUnavailable when nobody can say."""

    def among(self, refs: Refs, known: Cursor | None) -> tuple[Refs, Mapping[str, str]]:
        """Of what was fetched, what may be announced; and the heads that are withheld, by label."""

    def of(self, world: World) -> World:
        """What of an announced world may be installed."""


class EveryHead:
    """Signatures are not asked for."""

    def among(self, refs: Refs, known: Cursor | None) -> tuple[Refs, Mapping[str, str]]:
        return refs, {}

    def of(self, world: World) -> World:
        return world


class EachVouched:
    """Of several repositories each by its own; "" is the configuration repository."""

    def __init__(self, each: Mapping[str, Vouching]) -> None:
        self._each = each

    def among(self, refs: Refs, known: Cursor | None) -> tuple[Refs, Mapping[str, str]]:
        """Of the configuration repository."""
        return self._each[""].among(refs, known)

    def of(self, world: World) -> World:
        """See Vouching."""
        further = {name: self._further(name, its_own) for name, its_own in world.further.items()}
        return replace(self._each[""].of(world), further=further)

    def _further(self, name: str, world: World) -> World:
        """What nobody can vouch for is not served, and keeps nothing else back."""
        try:
            return self._each[name].of(world)
        except RepositoryUnavailable as failure:
            log.error("git.not_vouched", repository=name, reason=str(failure))
            return replace(world, heads={})


class VouchedHeads:
    """One verification for each new head, in the puller and in every worker: nobody's word is taken for it."""

    def __init__(self, repository: GitConfigBackend) -> None:
        """A repository that knows the allowed signers. Raises ValueError when this machine cannot verify."""
        if shutil.which("ssh-keygen") is None:
            raise ValueError("signatures of commits are verified by ssh-keygen, which is not on the PATH")
        self._repository = repository
        self._told: Mapping[str, str] = {}

    def among(self, refs: Refs, known: Cursor | None) -> tuple[Refs, Mapping[str, str]]:
        """See Vouching."""
        branches = {name: self._branch(name, commit, known) for name, commit in refs.branches.items()}
        standing = {name: commit for name, commit in branches.items() if commit is not None}
        tags = {name: commit for name, commit in refs.tags.items() if self._is_vouched(commit, standing.values())}
        wanted = {**refs.tags, **refs.branches}
        served = {**tags, **standing}
        withheld = {name: commit for name, commit in wanted.items() if served.get(name) != commit}
        self._tell(withheld)
        return Refs(standing, tags, refs.default), withheld

    def of(self, world: World) -> World:
        """See Vouching."""
        tips = [head.commit for head in world.heads.values() if self._is_signed_branch(head)]
        heads = {name: head for name, head in world.heads.items() if self._is_vouched(head.commit, tips)}
        if len(heads) < len(world.heads):
            log.error("git.unsigned_announced", labels=sorted(world.heads.keys() - heads.keys()))
        return replace(world, heads=heads)

    def _branch(self, name: str, commit: str, known: Cursor | None) -> str | None:
        """Where the branch is served: its head, else where it stood, else the last signed commit before its head."""
        if self._repository.is_verified(commit):
            return commit
        standing = known.labels[name].commit if known is not None and name in known.labels else None
        if standing is not None and self._repository.has(standing) and self._repository.is_verified(standing):
            self._repository.pin(standing)  # the remote may not lead to it any more
            return standing
        before = self._repository.first_parents_of(commit, limit=REACH)
        return next((each for each in before if self._repository.is_verified(each)), None)

    def _is_signed_branch(self, head: Head) -> bool:
        return head.kind is RefKind.BRANCH and self._repository.is_verified(head.commit)

    def _is_vouched(self, commit: str, tips: Iterable[str]) -> bool:
        return self._repository.is_verified(commit) or any(self._repository.is_ancestor(commit, tip) for tip in tips)

    def _tell(self, withheld: Mapping[str, str]) -> None:
        for name, commit in withheld.items():
            if self._told.get(name) != commit:
                log.error("git.unsigned", label=name, commit=commit)
        self._told = dict(withheld)
