"""ConfigEngine: the one pipeline. A request comes in, the installed world answers; a new world is installed whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from app.cache import LocalCache
from app.engine.answer import Answer, Lasting, Reader, ReadRequest, entity_tag, media_type, write
from app.engine.files import FileAnswer, PlainFiles
from app.engine.placement import Locates
from app.engine.resolver import Resolution, Resolver
from app.engine.world import Head, World
from app.errors import (
    Behind,
    NotFound,
    Overloaded,
    RepositoryUnavailable,
    SecretsUnavailable,
    UnknownTarget,
    Unprocessable,
)
from app.model import COMMIT, SecretPath, Stale, StaleReason, Target, parts_of
from app.notify import ConfigChangeNotifier, Rev, Subscriber

HINT_SECONDS = 1.0
#: A configuration that is stale for one of these is tried again without a revision.
_WAITING = {StaleReason.SECRET, StaleReason.VAULT}
#: How often a long poll looks whether its caller is still there, in seconds.
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Current:
    """A Resolution beside everything that makes its answer stale at this moment."""

    resolution: Resolution
    stale: tuple[Stale, ...]
    rewritten: bool = False

    @property
    def secrets(self) -> frozenset[SecretPath] | None:
        """What is behind its references; None for one that may turn into another by itself, with other references."""
        if any(stale.reason in _WAITING for stale in self.stale):
            return None
        references = self.resolution.effective.references
        named = (SecretPath(each.alias, each.path) for each in references if not each.is_encrypted)
        return frozenset((*named, *(path for path, _ in self.resolution.sources)))


@dataclass(frozen=True, slots=True)
class _Written:
    """Bytes that were written for exactly this Resolution (the same object, so the same secrets) and staleness."""

    resolution: Resolution
    stale: tuple[Stale, ...]
    body: bytes


class ConfigEngine:
    """Answers reads and tells streams. Thread-safe: threads share one immutable World by swapping one reference.

    `hint` asks the host's puller to fetch; `on_read` is told of every answer (audit hangs on it); `on_waiting` of long
    polls that begin (1) and end (-1); `catch_up` is how many seconds a read waits for a rev that its caller has seen;
    `also_served` names targets that are served past this engine.
    """

    def __init__(
        self,
        targets: Locates,
        resolver: Resolver,
        files: PlainFiles,
        notifier: ConfigChangeNotifier,
        *,
        hint: Callable[[], object],
        on_read: Callable[[ReadRequest | Reader, Resolution], None],
        on_waiting: Callable[[int], None],
        catch_up: float,
        accept_empty: bool = True,
        also_served: Callable[[], Iterable[Target]] = list,
    ) -> None:
        self._also_served = also_served
        self._targets = targets
        self._resolver = resolver
        self._files = files
        self.notifier = notifier
        self._hint = hint
        self._on_read = on_read
        self._on_waiting = on_waiting
        self._catch_up = catch_up
        self._accept_empty = accept_empty
        self._written: LocalCache[tuple[object, ...], _Written] = LocalCache(4096)
        self._hinted_at = float("-inf")
        self._world: World | None = None
        self._swapped = threading.Condition()  # guards the swap of _world for those who wait for a newer one

    @property
    def world(self) -> World:
        """What is installed. Raises RepositoryUnavailable before the first clone has succeeded."""
        world = self._world
        if world is None:
            raise RepositoryUnavailable("no configuration has been fetched yet", retry_after=2)
        return world

    def has(self, rev: Rev) -> bool:
        """Whether everything up to `rev` is installed here (always, when it is of another epoch)."""
        mine = self.world.rev
        return mine.epoch != rev.epoch or mine.seq >= rev.seq

    @property
    def installed(self) -> bool:
        """Whether there is a world at all, were it that of an empty repository."""
        return self._world is not None

    @property
    def ready(self) -> bool:
        """Whether there is a configuration to serve: a world, and in it the default label."""
        world = self._world
        return world is not None and world.default_label in world.heads

    def wait_ready(self, timeout: float) -> bool:
        """Whether a first configuration is installed, waiting for it up to `timeout` seconds."""
        with self._swapped:
            return self._swapped.wait_for(lambda: self.ready, timeout)

    def wait_until(self, holds: Callable[[World], bool], timeout: float) -> World | None:
        """The installed world once `holds` says so of it; None when that takes longer than `timeout` seconds."""

        def found() -> World | None:
            world = self._world
            return world if world is not None and holds(world) else None

        with self._swapped:
            return self._swapped.wait_for(found, timeout)

    # Reading

    def read(self, request: ReadRequest) -> Answer:
        """Answer a read; waits for a change when asked to, and as long as the worker does not drain.

        Raises UnknownLabel, UnknownTarget, UnknownKey, BadConfiguration, SecretRefused, FormatCollision, BadInput,
        RepositoryUnavailable, SecretsUnavailable, Behind, Overloaded.
        """
        answer, resolution = self._read(request)
        if answer.body is None and request.wait > 0 and not self.notifier.draining:
            answer, resolution = self._read_after_change(request, resolution.target)
        if answer.body is not None:
            self._on_read(request, resolution)
        return answer

    def lasting(self, request: ReadRequest, answer: Answer) -> Lasting | None:
        """What `read` will answer to this request is this answer, for as long as it `stands`.

        None where that depends on more: the time, who asks, or what is on its way.
        """
        target, world = answer.resolution.target, answer.world
        if answer.stale or request.at is not None or request.wait or target.is_candidate:
            return None
        if any(rollout.covers(target.service, target.envs) for rollout in world.rollouts):
            return None
        held = self._resolver.held(answer.resolution, world)
        return Lasting(world, answer.resolution, held) if held is not None else None

    def stands(self, lasting: Lasting) -> bool:
        """Whether nothing has been installed since, and Vault need not be asked for any of its secrets."""
        return lasting.world is self._world and self._resolver.holds(lasting.held)

    def read_again(self, reader: Reader, lasting: Lasting) -> None:
        """`reader` was answered with it whole."""
        self._on_read(reader, lasting.resolution)

    def file(self, request: ReadRequest, path: str, *, raw: bool) -> FileAnswer:
        """A plain file beside the configuration; `raw`: its bytes as they are. Raises UnknownFile, and as `read`."""
        world, head, target = self._locate(request)
        current = self.current(world, target, head)
        answer = self._files.read(current.resolution, request.view, path, raw=raw)
        self._on_read(request, current.resolution)
        return replace(answer, rev=world.rev, stale=current.stale)

    def target(
        self, world: World, service: str, envs: tuple[str, ...], label: str | None, at: int | None = None
    ) -> tuple[Head, Target]:
        """The coordinates with the label resolved (see Targets.locate). Raises UnknownLabel, UnknownTarget."""
        return self._targets.locate(world, service, envs, label, at)

    def is_protected(self, world: World, head: Head) -> bool:
        """Whether secrets are filled in there."""
        return self._targets.is_protected(world, head)

    def current(self, world: World, target: Target, head: Head) -> Current:
        """What `target` is in `world`. Raises as `read` does.

        A candidate that cannot be served whole is not given: who was chosen gets what all get.
        """
        if not target.is_candidate:
            return self._current(world, target, head)
        with suppress(Unprocessable, NotFound, SecretsUnavailable):
            current = self._current(world, target, head)
            if not current.resolution.unresolved:
                return current
        return self._current(world, *self._asked(world, target))

    def _asked(self, world: World, target: Target) -> tuple[Target, Head]:
        head, asked = self._targets.locate(world, target.service, target.envs, target.asked_label)
        return asked, head

    def _current(self, world: World, target: Target, head: Head) -> Current:
        protected = self._targets.is_protected(world, head)
        resolution = self._resolver.resolve(world, head, target, protected=protected)
        if not self._accept_empty and not self._resolver.is_own(resolution):
            raise UnknownTarget("nothing configures this service")
        stale = (*resolution.stale, *world.stale_of(target.label), *self._resolver.vault_stale(resolution))
        current = Current(resolution, stale, rewritten=head.rewritten)
        if self.notifier.is_unread(target) and world is self._world:
            self.notifier.refer(target, current.secrets)
        return current

    def recent(self, label: str) -> list[Target]:
        """The targets of a label that this worker has served, as far as it remembers."""
        return self._resolver.recent(label)

    def known(self) -> set[Target]:
        """The targets that this worker has served, as far as it remembers, or that somebody follows here.

        Commits that were asked for by their ids are left out: what they are never changes; and what is given to chosen
        instances only.
        """
        known = {*self._resolver.served(), *self._also_served(), *self.notifier.targets()}
        return {each for each in known if not (each.is_candidate or _is_of_a_commit(each)) and len(each.services) == 1}

    def further_labels(self) -> set[str]:
        """Those of further repositories that this worker has served, as far as it remembers."""
        return {each.label for each in self._resolver.served() if each.is_further}

    def inputs(self, target: Target) -> tuple[str, ...]:
        return self._resolver.inputs(target)

    def _read(self, request: ReadRequest) -> tuple[Answer, Resolution]:
        world, head, target = self._locate(request)
        current = self.current(world, target, head)
        resolution = current.resolution
        tag = entity_tag(request, resolution)
        unchanged = tag in request.etags or "*" in request.etags
        # A key that names nothing is 404 whatever the caller holds, and only writing the part tells.
        body = self._body(request, current) if request.key is not None or not unchanged else None
        return (
            Answer(
                body=None if unchanged else body,
                media_type=media_type(request.format),
                etag=tag,
                version=resolution.version,
                rev=world.rev,
                topic=target.topic,
                stale=current.stale,
                config_etag=resolution.etag,
                world=world,
                resolution=resolution,
            ),
            resolution,
        )

    def _locate(self, request: ReadRequest) -> tuple[World, Head, Target]:
        world = self._caught_up(request.seen) if request.seen else self.world
        head, target = self._targets.locate(world, request.service, request.envs, request.label, request.at)
        given = world.routed(target, request.instance) if request.at is None else target
        if given.is_candidate:
            head, target = self._targets.locate(world, given.service, given.envs, given.label)
        return world, head, target

    def _body(self, request: ReadRequest, current: Current) -> bytes:
        target = current.resolution.target
        key = (target, request.view, request.format, request.key, request.flat, request.explain)
        known = self._written.get(key)
        if known is not None and known.resolution is current.resolution and known.stale == current.stale:
            return known.body
        body = write(request, current.resolution, current.stale)
        self._written.put(key, _Written(current.resolution, current.stale, body))
        return body

    def _caught_up(self, seen: Rev) -> World:
        """The world, once it has reached `seen`. Another epoch's rev says nothing, so it is not waited for."""

        if not self.has(seen):
            self._hint_gently()
            with self._swapped:
                if not self._swapped.wait_for(lambda: self.has(seen), self._catch_up):
                    raise Behind("this host has not caught up with the revision you have seen", self._catch_up)
        return self.world

    def _hint_gently(self) -> None:
        """At most once a second: a caller who claims to have seen the future must not keep Git busy."""
        now = time.monotonic()
        if now - self._hinted_at >= HINT_SECONDS:
            self._hinted_at = now
            self._hint()

    def _read_after_change(self, request: ReadRequest, target: Target) -> tuple[Answer, Resolution]:
        """Listen, look again (so that nothing falls in between), and answer on the first change that counts."""
        deadline = time.monotonic() + request.wait
        with self._listening(target) as moved:
            while True:
                moved.clear()
                answer, resolution = self._read(request)
                remaining = deadline - time.monotonic()
                over = remaining <= 0 or self.notifier.draining or request.gone()
                if answer.body is not None or over:
                    return answer, resolution
                moved.wait(min(remaining, LOOK_SECONDS))

    @contextmanager
    def _listening(self, target: Target) -> Iterator[threading.Event]:
        moved = threading.Event()
        subscriber = Subscriber(moved)
        if not self.notifier.join(subscriber):
            raise Overloaded("this worker holds as many streams as it may")
        self._on_waiting(1)
        try:
            self.notifier.subscribe(subscriber, target, self.inputs(target))
            yield moved
        finally:
            self._on_waiting(-1)
            self.notifier.leave(subscriber, [target])

    # Installing

    def swap(self, world: World) -> None:
        """Make `world` what is read from now on, and wake who waited for it."""
        former = self._world
        if former is not None and former.rev.epoch != world.rev.epoch:
            self._resolver.forget_adopted()
        with self._swapped:
            self._world = world
            self._swapped.notify_all()


def _is_of_a_commit(target: Target) -> bool:
    return any(COMMIT.fullmatch(label) for _, label in parts_of(target.label))
