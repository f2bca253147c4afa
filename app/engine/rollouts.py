"""Gradual releases: which rollouts hold, and ending one when a chosen instance rejects what it was given."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import structlog

from app.audit import AuditEvent, Outcome
from app.cache import LocalCache
from app.effective.limits import MAX_BYTES
from app.effective.rollouts import ROLLOUTS_FILE, Rollout, read_rollouts
from app.engine.engine import ConfigEngine
from app.engine.instances import topic_target
from app.engine.loader import ReadsTrees
from app.engine.problems import Problem
from app.engine.world import World
from app.errors import BadConfiguration, BusUnavailable, ConfigServerError
from app.model import Blob, RefKind, Target, View
from app.notify import CursorStore, Stopped, now_text
from app.notify.wire import Ack
from app.repository import BlobTooLarge, GitConfigBackend

log = structlog.get_logger(__name__)

_ATTEMPTS = 5
_MAX_WAITING = 100


class Rollouts:
    """Thread-safe. `wake` lets `settle` be called soon, by the thread that follows; `hint` asks for a fetch, after
    which a lone host has the end of a rollout on its disk."""

    def __init__(
        self,
        engine: ConfigEngine,
        repository: GitConfigBackend,
        trees: ReadsTrees,
        store: CursorStore,
        *,
        record: Callable[[AuditEvent], None],
        wake: Callable[[], None],
        hint: Callable[[], object],
    ) -> None:
        self._engine = engine
        self._repository = repository
        self._trees = trees
        self._store = store
        self._record = record
        self._wake = wake
        self._hint = hint
        self._parsed: LocalCache[str, tuple[Rollout, ...]] = LocalCache(16)
        self._lock = threading.Lock()  # guards _rejected
        self._rejected: dict[tuple[Target, str], tuple[str, str]] = {}

    def of(self, world: World) -> tuple[Rollout, ...]:
        """Those of the default branch where it stands. None while an operator holds it: then it is served as it was.

        None either of a file that cannot be read; `problems` says so. Raises RepositoryUnavailable.
        """
        head = world.heads.get(world.default_label)
        blob = self._trees.at(head.commit).blobs.get(ROLLOUTS_FILE) if head is not None and head.hold is None else None
        try:
            return self._read(blob) if blob is not None else ()
        except BadConfiguration:
            return ()

    def rejected(self, topic: str, instance: str | None, ack: Ack) -> None:
        """An instance has not taken what it was told. Never blocks."""
        target = topic_target(topic)
        if instance is None or target is None or not self._engine.installed:
            return
        given = self._engine.world.routed(target, instance)
        if given.is_candidate:
            with self._lock:
                if len(self._rejected) < _MAX_WAITING:
                    self._rejected[given, ack.etag] = instance, ack.reason or ""
            self._wake()

    def settle(self) -> None:
        """End the rollouts of what was rejected, for all hosts. While Redis is away it is tried again."""
        with self._lock:
            rejected = dict(self._rejected)
        for (target, etag), (instance, reason) in rejected.items():
            try:
                if self._is_given(target, etag):
                    self._stop(target, instance, reason)
            except BusUnavailable:
                log.warning("rollout.not_stopped", topic=target.topic)
                return
            with self._lock:
                self._rejected.pop((target, etag), None)

    def problems(self, world: World) -> list[Problem]:
        """Rollouts that are not done as they stand in the file, and why."""
        head = world.heads.get(world.default_label)
        if head is None:
            return []
        blob = self._trees.at(head.commit).blobs.get(ROLLOUTS_FILE)
        try:
            rollouts = self._read(blob) if blob is not None else ()
        except BadConfiguration as bad:
            told = Problem("rollout", "broken", head.at or None, None, head.commit)
            return [replace(told, file=bad.path, line=bad.line, detail=bad.reason)]
        return [found for each in dict.fromkeys(rollouts) if (found := self._problem(world, each)) is not None]

    def _problem(self, world: World, rollout: Rollout) -> Problem | None:
        head = world.heads.get(rollout.branch)
        if head is None or head.kind is not RefKind.BRANCH:
            detail = f"{rollout.service}: there is no branch {rollout.branch}"
            return Problem("rollout", "missing", detail=detail, file=ROLLOUTS_FILE)
        if head.stopped is not None:
            detail = f"{rollout.service}: {head.stopped.instance} has rejected {rollout.branch}: {head.stopped.reason}"
            return Problem("rollout", "stopped", head.stopped.since, None, head.commit, detail=detail)
        if not self._engine.is_protected(world, head):
            detail = f"{rollout.service}: {rollout.branch} is none of SECRET_LABELS: not given where it has secrets"
            return Problem("rollout", "unprotected", None, None, head.commit, detail=detail)
        return None

    def _read(self, blob: Blob) -> tuple[Rollout, ...]:
        known = self._parsed.get(blob.id)
        if known is None:
            try:
                data = self._repository.blob(blob.id, limit=MAX_BYTES)
            except BlobTooLarge:
                raise BadConfiguration(ROLLOUTS_FILE, None, "is larger than 1 MiB") from None
            known = read_rollouts(data)
            self._parsed.put(blob.id, known)
        return known

    def _is_given(self, target: Target, etag: str) -> bool:
        """Whether that is what the candidate is now: who rejects an older one says nothing of it."""
        world = self._engine.world
        try:
            head, located = self._engine.target(world, target.service, target.envs, target.label)
            resolution = self._engine.current(world, located, head).resolution
        except ConfigServerError:
            return False
        return resolution.target.is_candidate and etag in set(map(resolution.etag_in, View))

    def _stop(self, target: Target, instance: str, reason: str) -> None:
        branch, stopped = target.candidate, Stopped(now_text(), instance[:128], reason[:300])
        for _ in range(_ATTEMPTS):
            cursor = self._store.read()
            standing = cursor.labels.get(branch) if cursor else None
            if cursor is None or standing is None or standing.stopped is not None:
                return
            given = self._engine.world.heads.get(branch)
            if given is None or standing.commit != given.commit:
                return  # it has moved on: what was rejected is not given any more
            self._store.announce(cursor, branch, replace(standing, stopped=stopped))
            after = self._store.read()
            if after is not None and branch in after.labels and after.labels[branch].stopped == stopped:
                detail = f"{target.topic}: {instance} has rejected it{f': {reason}' if reason else ''}"
                event = AuditEvent(
                    "rollout.stopped", Outcome.ALLOWED, target=branch, version=standing.commit, detail=detail
                )
                self._record(event)
                self._hint()
                return
