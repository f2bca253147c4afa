"""What one worker has installed: heads, versions, and what is known to be wrong. One immutable value, swapped whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.effective.rollouts import Rollout
from app.model import CANDIDATE, RefKind, SecretPath, Stale, Target
from app.notify import Announced, Cursor, Hold, LabelHead, Rev, Stopped
from app.secrets import Known


@dataclass(frozen=True, slots=True)
class Head:
    """Where a label stands in this worker. `former` heads are the first candidates for a last good version.

    `rewritten`: it came here by a forced push, so this commit does not follow from the one before. `hold`: an operator
    keeps the label at another commit. `stopped`: chosen instances do not get this commit any more.
    """

    label: str
    kind: RefKind
    commit: str
    at: str
    former: tuple[Announced, ...] = ()
    rewritten: bool = False
    hold: Hold | None = None
    stopped: Stopped | None = None

    @property
    def serves(self) -> str:
        """The commit that is answered with."""
        return self.hold.commit if self.hold else self.commit

    @property
    def state(self) -> tuple[str, Hold | None]:
        """Where it stands and whether it is held: what an answer depends on."""
        return self.commit, self.hold


@dataclass(frozen=True, slots=True)
class World:
    """The cursor as installed: all of `rev` can be read here. `stale` holds what touches every answer (git, behind).

    `rollouts` are those of the default label; what an instance gets by one is a target whose label names both, the
    default one and the branch.
    """

    rev: Rev
    default_label: str
    heads: Mapping[str, Head] = field(default_factory=dict)
    secrets: Mapping[SecretPath, Known] = field(default_factory=dict)
    stale: tuple[Stale, ...] = ()
    rollouts: tuple[Rollout, ...] = ()

    def stands(self, label: str) -> Head | None:
        """Where a label stands; that of a candidate which is given no more, where all get it."""
        asked, candidate, branch = label.partition(CANDIDATE)
        return (self.given(branch) if candidate else None) or self.heads.get(asked)

    def given(self, branch: str) -> Head | None:
        """Where the branch of a rollout stands, while it is given to those who are chosen."""
        if not any(rollout.branch == branch for rollout in self.rollouts):
            return None
        head = self.heads.get(branch)
        return head if head is not None and head.kind is RefKind.BRANCH and head.stopped is None else None

    def routed(self, target: Target, instance: str | None) -> Target:
        """What this instance gets where it asks for `target`."""
        asked = Target(target.service, target.envs, target.asked_label) if target.is_candidate else target
        if not self.rollouts or instance is None or asked.label != self.default_label:
            return asked
        rollout = next((each for each in self.rollouts if each.covers(asked.service, asked.envs)), None)
        if rollout is None or self.given(rollout.branch) is None or not rollout.chooses(instance):
            return asked
        return Target(asked.service, asked.envs, f"{asked.label}{CANDIDATE}{rollout.branch}")

    @property
    def routes(self) -> tuple[object, ...]:
        """Equal where every instance gets the same branch."""
        return self.rollouts, tuple(self.given(rollout.branch) is not None for rollout in self.rollouts)

    @property
    def holds(self) -> Mapping[str, Hold]:
        """The labels that an operator keeps back."""
        return {name: head.hold for name, head in self.heads.items() if head.hold}

    @property
    def commits(self) -> frozenset[str]:
        """All that must be readable where this is installed."""
        return frozenset(commit for head in self.heads.values() for commit in (head.commit, head.serves))


def cursor_of(world: World) -> Cursor:
    """What was installed, as what was announced; how often a label has moved is not known any more."""
    labels = {
        name: LabelHead(head.kind, head.commit, 1, head.at, head.former, head.rewritten, head.hold, head.stopped)
        for name, head in world.heads.items()
    }
    return Cursor(world.rev, world.default_label, labels, world.secrets)


def world_of(cursor: Cursor, stale: tuple[Stale, ...], now: float) -> World:
    """`now` is Unix seconds: a hold that has ended is none."""
    heads = {
        name: Head(
            name, head.kind, head.commit, head.at, head.former, head.rewritten, _held(head.hold, now), head.stopped
        )
        for name, head in cursor.labels.items()
        if head.commit is not None
    }
    return World(cursor.rev, cursor.default_label, heads, cursor.secrets, stale)


def _held(hold: Hold | None, now: float) -> Hold | None:
    return hold if hold is not None and now < hold.until else None
