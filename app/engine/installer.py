"""Brings a worker to what is announced: choose the cursor to believe, look at what it touches, swap, wake."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from app.aside import in_slices
from app.effective.rollouts import Rollout
from app.engine.engine import ConfigEngine
from app.engine.loader import ReadsTrees
from app.engine.touched import Found, Touched, concerns_all, looking
from app.engine.vouched import EveryHead, Vouching
from app.engine.world import Apart, World, world_of
from app.errors import BusUnavailable, RepositoryUnavailable
from app.model import SecretPath, Stale, StaleReason, Target
from app.notify import Cursor, CursorStore, HeadsFile, HostState, Rev, now_text
from app.observability import span
from app.repository import GitConfigBackend
from app.secrets import Known

#: Pauses between two words to the puller that Redis has lost something, in seconds: the first, doubled up to the last
#: for a Redis that takes no writes.
MEND_FIRST, MEND_LAST = 1.0, 30.0
#: How long an announced commit may be missing from the mirror before answers say so, in seconds.
BEHIND_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A further repository, and the label that it has by default."""

    repository: GitConfigBackend
    default_label: str


NO_MIRRORS: Mapping[str, Mirrored] = MappingProxyType({})


class Installer:
    """`follow` is one unit of work, called by one thread at a time. `touched` finds what a move changes; `on_behind`
    asks for a fetch, and is told the highest shared rev that was installed here; `rollouts` reads those of a
    world; `prepare` writes beforehand what followers will be told of a target; `further` are the further repositories
    by name."""

    def __init__(
        self,
        engine: ConfigEngine,
        repository: GitConfigBackend,
        trees: ReadsTrees,
        store: CursorStore,
        heads: HeadsFile,
        *,
        touched: Touched,
        rollouts: Callable[[World], tuple[Rollout, ...]],
        prepare: Callable[[World, Target, Found | None], None],
        on_behind: Callable[[Rev | None], object],
        on_installed: Callable[[World, float, int], None],
        on_rotated: Callable[[SecretPath, Known], None] = lambda _path, _known: None,
        vouching: Vouching | None = None,
        further: Mapping[str, Mirrored] = NO_MIRRORS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._repository = repository
        self._trees = trees
        self._store = store
        self._heads = heads
        self._touched = touched
        self._rollouts = rollouts
        self._prepare = prepare
        self._on_behind = on_behind
        self._on_installed = on_installed
        self._on_rotated = on_rotated
        self._vouching = vouching or EveryHead()
        self._further = further
        self._apart: Mapping[str, object] = {}
        self._lacking: dict[str, float] = {}
        self._clock = clock
        self._asked_for: Rev | None = None
        self._seen: Rev | None = None
        self._missing_since: float | None = None
        self._mend_at, self._mend_pause = float("-inf"), MEND_FIRST

    def follow(self) -> bool:
        """Install what is announced, if it differs from what is installed. True when something was swapped in."""
        host = self._heads.read()
        cursor = self._believed(host)
        if cursor is None:
            return False
        former = self._engine.world if self._engine.installed else None
        stale = self._git_stale(host)
        world = world_of(cursor, stale, time.time(), self._known_of(host))
        world = replace(world, further=self._as_far_as_here(former, world))
        if former is not None and self._same(former, world):
            return False
        if self._holds_all(former, world):
            self._missing_since = None
        else:
            self._ask_for(world.rev)
            if former is None:
                return False
            world = replace(self._behind(former, stale), further=world.further)
            if self._same(former, world):
                return False
        started = time.perf_counter()
        self._apart = world.apart
        world = self._vouching.of(world)
        world = replace(world, rollouts=self._rollouts(world))
        with span("config.push", **{"config.rev": str(world.rev)}):
            woken = self._install(former, world)
        seconds = time.perf_counter() - started
        if former is not None:
            self._note_rotations(former, world)
            self._look_again(former, world)
        self._on_installed(world, seconds, woken)
        return True

    def _ask_for(self, rev: Rev) -> None:
        """Ask for a fetch, once per revision that is missing: what comes later comes by the ordinary poll."""
        if rev != self._asked_for:
            self._asked_for = rev
            self._on_behind(self._seen)

    def _believed(self, host: HostState | None) -> Cursor | None:
        """The shared cursor, unless it is away or has lost something that was seen here: then the host's own.

        While the puller numbers for this host alone its word counts, until it has announced to Redis what moved in
        between: else a head would go back for a moment. None that is less than what was installed here is believed.
        """
        try:
            shared = self._store.read()
        except BusUnavailable:
            return self._of_host(host)
        lost = shared is None or shared.is_behind(self._seen) or (host is not None and shared.is_behind(host.seen))
        if host is not None and (lost or host.cursor.rev.is_host_local):
            self._ask_to_mend(host)
            return self._of_host(host)
        self._mend_pause = MEND_FIRST
        return None if lost else shared

    def _of_host(self, host: HostState | None) -> Cursor | None:
        """What the puller knew last, which was before its last fetch: less, perhaps, than what came here since."""
        if host is None:
            return None
        cursor = host.cursor
        less = self._is_older(cursor) if cursor.rev.is_host_local else cursor.is_behind(self._seen)
        return None if less else cursor

    def _ask_to_mend(self, host: HostState) -> None:
        """Redis answers, and lacks what this host knows: its puller tells it, and need not wait for its poll to do so.

        While Git does not answer nobody may, and the puller tries again by itself.
        """
        now = self._clock()
        if host.git_failing_since is None and now >= self._mend_at:
            self._mend_at = now + self._mend_pause
            self._mend_pause = min(2 * self._mend_pause, MEND_LAST)
            self._on_behind(self._seen)

    def _is_older(self, cursor: Cursor) -> bool:
        if not self._engine.installed:
            return False
        mine = self._engine.world.rev
        return mine.epoch == cursor.rev.epoch and cursor.rev.seq < mine.seq

    def _git_stale(self, host: HostState | None) -> tuple[Stale, ...]:
        since = host.git_failing_since if host else None
        return (Stale(StaleReason.GIT, since),) if since else ()

    def _same(self, former: World, world: World) -> bool:
        same = former.rev == world.rev and former.stale == world.stale and former.holds == world.holds
        return same and self._apart == world.apart

    def _known_of(self, host: HostState | None) -> Mapping[str, Apart]:
        """What is known of each further repository."""
        known = {}
        for name, mirrored in self._further.items():
            fetched = host.further.get(name) if host else None
            since = fetched.failing_since if fetched else None
            known[name] = Apart(mirrored.default_label, (Stale(StaleReason.GIT, since),) if since else ())
        return known

    def _as_far_as_here(self, former: World | None, world: World) -> Mapping[str, World]:
        """The further repositories: each as it was while its mirror lacks what is announced, for that is no reason to
        keep anything else back."""
        return {
            name: self._here(name, former.further.get(name) if former else None, its_own, world.rev)
            for name, its_own in world.further.items()
        }

    def _here(self, name: str, former: World | None, announced: World, rev: Rev) -> World:
        known = former.commits if former else frozenset()
        try:
            whole = all(self._further[name].repository.has(commit) for commit in announced.commits - known)
        except RepositoryUnavailable:
            whole = False
        if whole:
            self._lacking.pop(name, None)
            return announced
        self._ask_for(rev)
        since = self._lacking.setdefault(name, self._clock())
        stale = announced.stale
        if self._clock() - since >= BEHIND_SECONDS:
            before = former.stale if former else ()
            known_behind = [each for each in before if each.reason is StaleReason.BEHIND]
            stale = (*stale, *(known_behind or [Stale(StaleReason.BEHIND, now_text())]))
        return replace(announced, heads=former.heads if former else {}, stale=stale)

    def _holds_all(self, former: World | None, world: World) -> bool:
        """Whether the mirror of this host has every commit that moved. Only then is all of `rev` readable here."""
        known = former.commits if former else frozenset()
        try:
            return all(self._repository.has(commit) for commit in world.commits - known)
        except RepositoryUnavailable:
            return False  # the first clone is still on its way

    def _behind(self, former: World, stale: tuple[Stale, ...]) -> World:
        """The former world while the mirror is on its way. Said of it only when that takes long: else each push that
        another host announces first would be told to every stream twice, as a staleness that comes and goes."""
        now = self._clock()
        self._missing_since = now if self._missing_since is None else self._missing_since
        known = [each for each in former.stale if each.reason is StaleReason.BEHIND]
        if not known and now - self._missing_since >= BEHIND_SECONDS:
            known = [Stale(StaleReason.BEHIND, now_text())]
        return replace(former, stale=(*stale, *known))

    def _install(self, former: World | None, world: World) -> int:
        """Resolve what the move touches before anybody is told of it; then swap, then wake. Returns how many."""
        default = world.heads.get(world.default_label)
        if default is not None:
            self._trees.at(default.commit)  # read now, so that the first request does not wait for it
        notifier = self._engine.notifier
        moment = notifier.moment()
        found = self._touched.between(former, world) if former else {}
        moved = set(found)
        for target in in_slices(moved):
            self._prepare(world, target, found[target])
        self._engine.swap(world)
        if not world.rev.is_host_local:
            self._seen = max(world.rev, self._seen or world.rev, key=Rev.rank)
        fresh = set(notifier.since(moment))  # who has subscribed meanwhile may have read the former world
        notifier.unsettle(moved | fresh if former and concerns_all(former, world) else fresh)
        return notifier.wake(moved | fresh)

    def _look_again(self, former: World, world: World) -> None:
        """After the push: targets that are read without being subscribed to, so that what is wrong is known now."""
        look = looking(self._engine)
        for label in (*world.heads, *self._engine.further_labels()):
            old, head = former.stands(label), world.stands(label)
            if old is None or head is None or old.state == head.state:
                continue
            recent = self._engine.recent(label)
            changed = self._trees.advance(old.serves, head.serves) if recent else frozenset()
            for target in in_slices(recent):
                if changed is None or not changed.isdisjoint(self._engine.inputs(target)):
                    look(world, target)

    def _note_rotations(self, former: World, world: World) -> None:
        """What another host has announced; what this one has is noted already."""
        for path, known in world.secrets.items():
            if former.secrets.get(path, known) != known:
                self._on_rotated(path, known)
