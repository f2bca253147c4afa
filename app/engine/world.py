"""What one worker has installed: heads, versions, and what is known to be wrong. One immutable value, swapped whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import islice
from types import MappingProxyType

from app.effective.rollouts import Rollout
from app.model import CANDIDATE, OF, RefKind, SecretPath, Stale, Target, parts_of, together
from app.notify import Announced, Cursor, Hold, LabelHead, Rev, Stopped
from app.notify.cursor import HISTORY
from app.secrets import Known

NO_FURTHER: Mapping[str, Apart] = MappingProxyType({})


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
    default one and the branch. `further` are the further repositories by name: each one's labels and what makes its
    answers stale.
    """

    rev: Rev
    default_label: str
    heads: Mapping[str, Head] = field(default_factory=dict)
    secrets: Mapping[SecretPath, Known] = field(default_factory=dict)
    stale: tuple[Stale, ...] = ()
    rollouts: tuple[Rollout, ...] = ()
    further: Mapping[str, World] = field(default_factory=dict)

    def stands(self, label: str) -> Head | None:
        """Where a label stands; that of a candidate which is given no more, where all get it."""
        if OF in label:
            heads = [(name, self._stands(name, asked)) for name, asked in parts_of(label)]
            found = [(name, head) for name, head in heads if head is not None]
            return joined(found) if len(found) == len(heads) else None
        asked, candidate, branch = label.partition(CANDIDATE)
        return (self.given(branch) if candidate else None) or self.heads.get(asked)

    def _stands(self, repository: str, label: str) -> Head | None:
        world = self.further.get(repository)
        return world.heads.get(label) if world is not None else None

    def stale_of(self, label: str) -> tuple[Stale, ...]:
        """What makes every answer of this label stale: a repository that it is not read from does not."""
        if OF not in label:
            return self.stale
        theirs = (self.further[name].stale for name, _ in parts_of(label) if name in self.further)
        return tuple(dict.fromkeys(each for some in theirs for each in some))

    @property
    def apart(self) -> Mapping[str, object]:
        """What can differ in further repositories while the rev is the same: what of them can be read here."""
        return {
            name: ({label: head.state for label, head in world.heads.items()}, world.stale)
            for name, world in self.further.items()
        }

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


@dataclass(frozen=True, slots=True)
class Apart:
    """What is known of a further repository beside its heads: the label that it has by default, and what is stale."""

    default_label: str
    stale: tuple[Stale, ...] = ()


def joined(parts: Sequence[tuple[str, Head]]) -> Head:
    """The head of a label of further repositories, (name, its head) each, the strongest first.

    Its commit says where each of them stands. Its former heads go back in one repository as far as in the others
    together, the nearest first: so that the newest good version takes no more back than it must.
    """
    heads = [head for _, head in parts]
    kinds = {head.kind for head in heads}
    lines = [[Announced(head.commit, head.at), *head.former] for head in heads]
    former = (
        Announced(together(zip((name for name, _ in parts), (each.commit for each in some), strict=True)), _last(some))
        for some in _nearest(lines)
    )
    return Head(
        together((name, head.label) for name, head in parts),
        kinds.pop() if len(kinds) == 1 else RefKind.COMMIT,
        together((name, head.commit) for name, head in parts),
        max(head.at for head in heads),
        tuple(islice(former, HISTORY)),
        any(head.rewritten for head in heads),
    )


def _nearest(lines: Sequence[Sequence[Announced]]) -> Iterator[tuple[Announced, ...]]:
    """One of each line, but for the first of all, by how many steps they are back in all.

    Each is found when it is asked for: 32 lines of 21 have more of them than anybody could list.
    """
    first = (0,) * len(lines)
    waiting, seen = [(0, first)], {first}
    while waiting:
        back, steps = heappop(waiting)
        if back:
            yield tuple(line[step] for line, step in zip(lines, steps, strict=True))
        for index, line in enumerate(lines):
            further = (*steps[:index], steps[index] + 1, *steps[index + 1 :])
            if further[index] < len(line) and further not in seen:
                seen.add(further)
                heappush(waiting, (back + 1, further))


def _last(some: Sequence[Announced]) -> str:
    return max(each.at for each in some)


def cursor_of(world: World) -> Cursor:
    """What was installed, as what was announced; how often a label has moved is not known any more."""
    heads = dict(world.heads)
    for repository, its_own in world.further.items():
        heads |= {f"{repository}{OF}{name}": head for name, head in its_own.heads.items()}
    labels = {
        name: LabelHead(head.kind, head.commit, 1, head.at, head.former, head.rewritten, head.hold, head.stopped)
        for name, head in heads.items()
    }
    return Cursor(world.rev, world.default_label, labels, world.secrets)


def world_of(cursor: Cursor, stale: tuple[Stale, ...], now: float, further: Mapping[str, Apart] = NO_FURTHER) -> World:
    """`now` is Unix seconds: a hold that has ended is none. `further` are the repositories that this server knows."""
    heads: dict[str, dict[str, Head]] = {"": {}, **{name: {} for name in further}}
    for qualified, head in cursor.labels.items():
        repository, _, name = qualified.rpartition(OF)
        if head.commit is not None and repository in heads:
            hold = _held(head.hold, now)
            heads[repository][name] = Head(
                name, head.kind, head.commit, head.at, head.former, head.rewritten, hold, head.stopped
            )
    worlds = {
        name: World(cursor.rev, apart.default_label, heads[name], stale=apart.stale) for name, apart in further.items()
    }
    return World(cursor.rev, cursor.default_label, heads[""], cursor.secrets, stale, further=worlds)


def _held(hold: Hold | None, now: float) -> Hold | None:
    return hold if hold is not None and now < hold.until else None
