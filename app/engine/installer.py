"""Brings a worker to what is announced: choose the cursor to believe, look at what it touches, swap, wake."""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from dataclasses import replace

from app.engine.engine import SLICE, ConfigEngine, Current
from app.engine.loader import Trees
from app.engine.schemas import Schemas
from app.engine.world import World, world_of
from app.errors import BusUnavailable, ConfigServerError, RepositoryUnavailable
from app.model import SecretPath, Stale, StaleReason, Target
from app.notify import Cursor, CursorStore, HeadsFile, HostState, Rev, now_text
from app.repository import GitConfigBackend
from app.secrets import Known


class Installer:
    """`follow` is one unit of work, called by one thread at a time; `on_behind` asks for a fetch."""

    def __init__(
        self,
        engine: ConfigEngine,
        repository: GitConfigBackend,
        trees: Trees,
        schemas: Schemas,
        store: CursorStore,
        heads: HeadsFile,
        *,
        on_behind: Callable[[], object],
        on_installed: Callable[[World, float, int], None],
        on_rotated: Callable[[SecretPath, Known], None],
    ) -> None:
        self._engine = engine
        self._repository = repository
        self._trees = trees
        self._schemas = schemas
        self._store = store
        self._heads = heads
        self._on_behind = on_behind
        self._on_installed = on_installed
        self._on_rotated = on_rotated
        self._asked_for: Rev | None = None

    def follow(self) -> bool:
        """Install what is announced, if it differs from what is installed. True when something was swapped in."""
        host = self._heads.read()
        cursor = self._believed(host)
        if cursor is None:
            return False
        former = self._engine.world if self._engine.installed else None
        stale = self._git_stale(host)
        world = world_of(cursor, stale)
        if former is not None and self._same(former, world):
            return False
        if not self._holds_all(former, world):
            self._ask_for(world.rev)
            if former is None:
                return False
            world = self._behind(former, stale)
            if self._same(former, world):
                return False
        started = time.perf_counter()
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
            self._on_behind()

    def _believed(self, host: HostState | None) -> Cursor | None:
        """The shared cursor, unless it is away or has lost something that was seen here: then the host's own.

        While the puller numbers for this host alone its word counts, until it has announced to Redis what moved in
        between: else a head would go back for a moment. Nothing older of the same epoch is ever installed.
        """
        try:
            shared = self._store.read()
        except BusUnavailable:
            shared = None
        if host is not None and host.cursor.rev.is_host_local:
            shared = None
        if shared is not None and not shared.is_behind(host.seen if host else None) and not self._is_older(shared):
            return shared
        return host.cursor if host and not self._is_older(host.cursor) else None

    def _is_older(self, cursor: Cursor) -> bool:
        if not self._engine.installed:
            return False
        mine = self._engine.world.rev
        return mine.epoch == cursor.rev.epoch and cursor.rev.seq < mine.seq

    def _git_stale(self, host: HostState | None) -> tuple[Stale, ...]:
        since = host.git_failing_since if host else None
        return (Stale(StaleReason.GIT, since),) if since else ()

    def _same(self, former: World, world: World) -> bool:
        return former.rev == world.rev and former.stale == world.stale

    def _holds_all(self, former: World | None, world: World) -> bool:
        """Whether the mirror of this host has every commit that moved. Only then is all of `rev` readable here."""
        known = {head.commit for head in former.heads.values()} if former else set()
        try:
            return all(head.commit in known or self._repository.has(head.commit) for head in world.heads.values())
        except RepositoryUnavailable:
            return False  # the first clone is still on its way

    def _behind(self, former: World, stale: tuple[Stale, ...]) -> World:
        known = next((each for each in former.stale if each.reason is StaleReason.BEHIND), None)
        return replace(former, stale=(*stale, known or Stale(StaleReason.BEHIND, now_text())))

    def _install(self, former: World | None, world: World) -> int:
        """Resolve what the move touches before anybody is told of it; then swap, then wake. Returns how many."""
        default = world.heads.get(world.default_label)
        if default is not None:
            self._trees.at(default.commit)  # read now, so that the first request does not wait for it
        looked_at = set(self._engine.notifier.targets())
        moved = self._moved(former, world) if former else set()
        self._engine.swap(world)
        subscribed_meanwhile = set(self._engine.notifier.targets()) - looked_at  # they may have read the former world
        return self._engine.notifier.wake(moved | subscribed_meanwhile)

    def _moved(self, former: World, world: World) -> set[Target]:
        if former.stale != world.stale or former.rev.epoch != world.rev.epoch:
            return set(self._engine.notifier.targets())
        touched = self._touched_by_commits(former, world) | self._touched_by_secrets(former, world)
        moved: set[Target] = set()
        pause_at = time.perf_counter() + SLICE
        for target in touched:
            if self._differs(former, world, target):
                moved.add(target)
            if time.perf_counter() > pause_at:
                time.sleep(0)  # let requests of this worker in between
                pause_at = time.perf_counter() + SLICE
        return moved

    def _look_again(self, former: World, world: World) -> None:
        """After the push: targets that are read without being subscribed to, so that what is wrong is known now."""
        pause_at = time.perf_counter() + SLICE
        for label, head in world.heads.items():
            old = former.heads.get(label)
            recent = self._engine.recent(label) if old is not None and old.commit != head.commit else []
            changed = self._changed(old.commit, head.commit) if old is not None and recent else frozenset()
            for target in recent:
                if changed is None or not changed.isdisjoint(self._engine.inputs(target)):
                    self._current(world, target)
                if time.perf_counter() > pause_at:
                    time.sleep(0)
                    pause_at = time.perf_counter() + SLICE

    def _touched_by_commits(self, former: World, world: World) -> set[Target]:
        notifier = self._engine.notifier
        touched: set[Target] = set()
        listened = {target.label for target in notifier.targets()}
        for label in listened:
            old, new = former.heads.get(label), world.heads.get(label)
            if (old and old.commit) == (new and new.commit):
                continue
            changed = self._changed(old.commit, new.commit) if old and new else None
            if changed is None:
                touched.update(target for target in notifier.targets() if target.label == label)
            else:
                touched |= notifier.affected(label, changed)
        return touched

    def _changed(self, old: str, new: str) -> Set[str] | None:
        """The paths that differ, and the schemas that lean on one of them. None: any path may differ."""
        changed = self._trees.advance(old, new)
        if changed is None:
            return None
        return changed | self._schemas.touched(self._trees.at(old).blobs, self._trees.at(new).blobs, changed)

    def _touched_by_secrets(self, former: World, world: World) -> set[Target]:
        """A path that `former` does not know was adopted since, at a version that may have been left already."""
        rotated = {path for path, known in world.secrets.items() if former.secrets.get(path) != known}
        if not rotated:
            return set()
        return {target for target in self._engine.notifier.targets() if self._uses(former, target, rotated)}

    def _uses(self, world: World, target: Target, paths: Set[SecretPath]) -> bool:
        """Whether one of `paths` is behind `target`; also when it cannot be had, which a new secret may change."""
        current = self._current(world, target)
        if not isinstance(current, Current):
            return True
        return any(SecretPath(each.alias, each.path) in paths for each in current.resolution.effective.references)

    def _note_rotations(self, former: World, world: World) -> None:
        """What another host has announced; what this one has is noted already."""
        for path, known in world.secrets.items():
            if former.secrets.get(path, known) != known:
                self._on_rotated(path, known)

    def _differs(self, former: World, world: World, target: Target) -> bool:
        """Whether a subscriber would see another configuration or another staleness. A comment moves nobody."""
        before, after = self._current(former, target), self._current(world, target)
        if isinstance(before, Current) and isinstance(after, Current):
            return (before.resolution.etag, before.stale) != (after.resolution.etag, after.stale)
        return True

    def _current(self, world: World, target: Target) -> Current | ConfigServerError:
        try:
            head, located = self._engine.target(world, target.service, target.envs, target.label)
            return self._engine.current(world, located, head)
        except ConfigServerError as failure:
            return failure
