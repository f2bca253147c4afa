"""Which subscribed targets another world changes: what a move touches is found by index, and only that is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from app.aside import in_slices
from app.engine.engine import ConfigEngine, Current
from app.engine.loader import ReadsTrees
from app.engine.world import Head, World
from app.errors import ConfigServerError
from app.model import CANDIDATE, Target
from app.notify import ConfigChangeNotifier

#: What a target is in a world, or the failure that stands in its place.
Found: TypeAlias = Current | ConfigServerError
Look: TypeAlias = Callable[[World, Target], Found]


def looking(engine: ConfigEngine) -> Look:
    """How a reader would find it."""

    def look(world: World, target: Target) -> Found:
        try:
            head, located = engine.target(world, target.service, target.envs, target.label)
            return engine.current(world, located, head)
        except ConfigServerError as failure:
            return failure

    return look


class Touched:
    """Called by one thread at a time, that of the installer."""

    def __init__(self, notifier: ConfigChangeNotifier, trees: ReadsTrees, look: Look) -> None:
        self._notifier = notifier
        self._trees = trees
        self._look = look

    def between(self, former: World, world: World) -> dict[Target, Found | None]:
        """The targets of which a subscriber would see another configuration or staleness, and what they are now.

        A new epoch, and what makes every answer stale, is for all of them (None): each subscriber compares for itself.
        """
        if concerns_all(former, world):
            return dict.fromkeys(self._notifier.targets())
        touched = self._by_commits(former, world) | self._by_secrets(former, world)
        looked = ((target, self._differing(former, world, target)) for target in in_slices(touched))
        differing = {target: found for target, found in looked if found is not None}
        return {**dict.fromkeys(self._rerouted(former, world)), **differing}

    def _rerouted(self, former: World, world: World) -> set[Target]:
        """Those of which some instances get another branch now: which ones, each subscriber sees for itself."""
        if former.routes == world.routes:
            return set()
        services = {rollout.service for rollout in (*former.rollouts, *world.rollouts)}
        return {target for target in self._notifier.targets() if target.service in services}

    def _by_commits(self, former: World, world: World) -> set[Target]:
        touched: set[Target] = set()
        for label in self._notifier.labels():
            for each in {label, label.partition(CANDIDATE)[0]}:  # a candidate may be answered with what all get
                touched |= self._moved(label, former.stands(each), world.stands(each))
            if former.stale_of(label) != world.stale_of(label):
                touched |= self._notifier.of_label(label)
        return touched

    def _moved(self, label: str, old: Head | None, new: Head | None) -> set[Target]:
        """The subscribed targets of a label that may differ between two heads."""
        if (old and old.state) == (new and new.state):
            return set()
        same_hold = old is not None and new is not None and old.hold == new.hold
        changed = self._trees.advance(old.serves, new.serves) if old and new and same_hold else None
        return self._notifier.of_label(label) if changed is None else self._notifier.affected(label, changed)

    def _by_secrets(self, former: World, world: World) -> set[Target]:
        """A path that `former` does not know was adopted since, at a version that may have been left already.

        Which secrets are behind a target is found out by its subscribers' own looks, as a rule long before.
        """
        rotated = [path for path, known in world.secrets.items() if former.secrets.get(path) != known]
        if not rotated:
            return set()
        for target in in_slices(self._notifier.unread()):
            self._refer(target, self._look(former, target))
        return self._notifier.using(rotated)

    def _differing(self, former: World, world: World, target: Target) -> Found | None:
        """What it is now; None where a subscriber would see what it saw before. A comment moves nobody."""
        before, after = self._look(former, target), self._look(world, target)
        self._refer(target, after)
        if isinstance(before, Current) and isinstance(after, Current):
            same = (before.resolution.etag, before.stale) == (after.resolution.etag, after.stale)
            return None if same else after
        return after

    def _refer(self, target: Target, found: Found) -> None:
        self._notifier.refer(target, found.secrets if isinstance(found, Current) else None)


def concerns_all(former: World, world: World) -> bool:
    return former.stale != world.stale or former.rev.epoch != world.rev.epoch
