"""One stream's conversation, whatever carries it: frames in, frames out. State, not events: it compares etags."""

from __future__ import annotations

import hashlib
import hmac
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from app.engine.answer import ReadRequest
from app.engine.changes import ChangeFrames
from app.engine.engine import ConfigEngine, Current
from app.engine.resolver import Resolution
from app.engine.world import World
from app.errors import BadInput, ConfigServerError, Forbidden, NotFound, Unauthenticated, Unavailable, Unprocessable
from app.model import Principal, Stale, Target, View, checked_envs, checked_label, checked_service
from app.notify import Presence, Subscriber, now_text, wire
from app.notify.wire import Auth, Frame, Subscribe, Unsubscribe

#: Refused topics of one connection that are put on record one by one; the rest would only flood the trail.
MAX_DENIALS = 20
#: (principal, service, envs) -> what it may see, or None. Asked at each delivery.
Authorize: TypeAlias = Callable[[Principal, str, tuple[str, ...]], View | None]


@dataclass(frozen=True, slots=True)
class Close:
    """The end of a stream: a close code of WebSocket (cfg.v1), and why."""

    code: int
    reason: str


@dataclass(slots=True)
class _Held:
    """What this connection has been told of one topic, and in which view; None: as the client says it holds it."""

    etag: str | None
    stale: tuple[Stale, ...] = ()
    failed: str | None = None
    view: View | None = None


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """`origins` are the browser origins that may connect. Durations in seconds.

    `inbound` messages may come in `inbound_seconds`. A stream is asked to come again after `max_age` (times 0.8 to 1),
    so that streams spread over workers that came later. `expiry_warning` before a token's end the client is told.
    """

    origins: frozenset[str] = frozenset()
    write_timeout: float = 10.0
    inbound: int = 20
    inbound_seconds: float = 10.0
    max_age: float = 1800.0
    expiry_warning: float = 60.0
    drain_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class StreamPolicy:
    """What all streams of a worker share. `heartbeat` in seconds; `digest_key` keys the digest in SSE's event id.

    `verify` turns a token into a Principal (Unauthenticated if it is not good); `is_revoked` is asked at every wake-up.
    `on_denied` is told (principal, topic as asked, connection id, address).
    """

    engine: ConfigEngine
    frames: ChangeFrames
    presence: Presence
    authorize: Authorize
    verify: Callable[[str], Principal]
    is_revoked: Callable[[Principal], bool]
    digest_key: bytes
    heartbeat: float
    limits: StreamLimits
    on_pushed: Callable[[str], None]
    on_delivered: Callable[[ReadRequest, Resolution], None]
    on_denied: Callable[[Principal, str, str, str], None]


class StreamSession:
    """Used by one thread. `subscriber.wake` is set when there is something to do."""

    def __init__(
        self, policy: StreamPolicy, principal: Principal, subscriber: Subscriber, connection: str, address: str = ""
    ) -> None:
        self._policy = policy
        self._address = address
        self._engine = policy.engine
        self._principal = principal
        self._subscriber = subscriber
        self._connection = connection
        self._held: dict[Target, _Held] = {}
        self._takes_patches = False
        self._closing: Close | None = None
        self._warned = False
        self._inbound: deque[float] = deque(maxlen=policy.limits.inbound)
        self._beat_at = 0.0
        self._denials = 0
        self._leave_at = time.monotonic() + policy.limits.max_age * random.uniform(0.8, 1.0)  # noqa: S311 - spreads load
        self._drain_at: float | None = None

    @property
    def targets(self) -> Iterable[Target]:
        return self._held

    def run(
        self,
        opening: Iterable[wire.Command],
        receive: Callable[[], Sequence[str | bytes]],
        alive: Callable[[], bool],
    ) -> Iterator[Frame | Close]:
        """The whole life of the stream: what to send, in order. Ends when `alive` turns false, or after a Close.

        `opening` are commands that came with the request; `receive` returns the messages that have come in since the
        last call. Waits on `subscriber.wake` in between.
        """
        yield wire.hello(self._connection, str(self._engine.world.rev), self._policy.heartbeat)
        self._beat()
        for command in opening:
            yield from self.handle(command)
        while alive():
            self._subscriber.wake.clear()
            for message in receive():
                yield from self._received(message)
            ending = self._closing or self._ending()
            if ending is not None:
                if ending.code != wire.CLOSE_BAD_FRAME:
                    yield wire.goodbye(ending.code, self._retry_after())
                yield ending
                return
            yield from self._warning()
            yield from self.due()
            self._subscriber.wake.wait(self._patience())

    def handle(self, command: wire.Command) -> Iterator[Frame]:
        """Do what the client asks; the frames to send for it."""
        if isinstance(command, Subscribe):
            yield from self.subscribe(command)
        elif isinstance(command, Unsubscribe):
            self._unsubscribe(command)
        elif isinstance(command, Auth):
            yield from self._renew(command)
        else:
            self._policy.presence.acknowledge(self._connection, command)

    def _received(self, message: str | bytes) -> Iterator[Frame]:
        """One message of the client. What is not of this protocol, or comes too often, ends the stream."""
        if self._closing is not None:
            return
        now = time.monotonic()
        limits = self._policy.limits
        if len(self._inbound) == limits.inbound and now - self._inbound[0] < limits.inbound_seconds:
            self._closing = Close(wire.CLOSE_LIMIT, "too many messages")
            return
        self._inbound.append(now)
        try:
            yield from self.handle(wire.parse(message))
        except wire.BadFrame as bad:
            yield wire.error("bad-frame", None, False)
            self._closing = Close(wire.CLOSE_BAD_FRAME, str(bad))

    def _renew(self, command: Auth) -> Iterator[Frame]:
        """A new token for the same client: its lifetime and grants count from now on."""
        try:
            principal = self._policy.verify(command.token)
        except Unauthenticated:
            yield wire.error("unauthenticated", None, False)
            return
        if _identity(principal) != _identity(self._principal):
            self._closing = Close(wire.CLOSE_FORBIDDEN, "the token is another client's")
            return
        self._principal, self._warned = principal, False
        followed = list(self._held)
        for target in followed:
            view = self._policy.authorize(principal, target.service, target.envs)
            if view is None:
                self._policy.on_denied(principal, target.topic, self._connection, self._address)
                yield wire.error("forbidden", target.topic, False)
                self._drop(target)
            elif view is not self._held[target].view:
                self._subscriber.mark(target)  # the same etag reads otherwise now
        self._tell_presence()
        if followed and not self._held:
            self._closing = Close(wire.CLOSE_FORBIDDEN, "no grant of the new token covers what was followed")

    def _tell_presence(self) -> None:
        self._policy.presence.subscribed(self._connection, [target.topic for target in self._held])

    def _warning(self) -> Iterator[Frame]:
        if not self._warned and self._lifetime() <= self._policy.limits.expiry_warning:
            self._warned = True
            yield wire.auth_expiring(max(0.0, self._lifetime()))

    def _patience(self) -> float:
        """Seconds until something is due by itself."""
        now = time.monotonic()
        ends = [self._beat_at - now, self._leave_at - now, self._lifetime()]
        if not self._warned:
            ends.append(self._lifetime() - self._policy.limits.expiry_warning)
        if self._drain_at is not None:
            ends.append(self._drain_at - now)
        return max(0.0, min(ends))

    def subscribe(self, command: Subscribe) -> Iterator[Frame]:
        """Register first, then look: what moves in between is marked and comes with the next `due`."""
        world = self._engine.world
        self._takes_patches = command.accepts_patches
        instance = command.client.get("instance")
        if instance and not self._policy.presence.identify(self._connection, instance, command.client.get("version")):
            self._closing = Close(wire.CLOSE_LIMIT, "this instance holds as many streams as it may")
            return
        fresh: dict[Target, None] = {}  # in order, and once: `pay/prod` and `pay/prod/main` may be one topic
        for name, etag in command.topics.items():
            try:
                target = self.resolve(world, name)
            except ConfigServerError as failure:
                if isinstance(failure, Forbidden) and self._denials < MAX_DENIALS:
                    self._denials += 1
                    self._policy.on_denied(self._principal, name, self._connection, self._address)
                yield wire.error(code_of(failure), name, isinstance(failure, Unavailable))
                continue
            if target not in self._held and len(self._held) >= wire.MAX_TOPICS:
                yield wire.error("too-many-topics", name, False)
                continue
            self._engine.notifier.subscribe(self._subscriber, target, self._engine.inputs(target))
            self._held[target] = _Held(etag)
            fresh[target] = None
        self._tell_presence()
        if fresh:
            installed = self._engine.world  # read after registering: what moves later is marked
            self._take_over(installed, command)
            changes = list(self._changes(installed, fresh))
            yield wire.subscribed([target.topic for target in fresh], _mode(command, len(fresh), changes))
            yield from changes
            yield self._sync(installed)

    def _take_over(self, world: World, command: Subscribe) -> None:
        """A client that shows the digest of exactly what it would be sent now holds it already."""
        if command.digest is None or any(command.topics.values()):
            return
        etags = {target: self._etag_now(world, target) for target in self._held}
        if None not in etags.values() and hmac.compare_digest(self._digest_of(etags).encode(), command.digest.encode()):
            for target, held in self._held.items():
                held.etag = etags[target]

    def _etag_now(self, world: World, target: Target) -> str | None:
        try:
            head, located = self._engine.target(world, target.service, target.envs, target.label)
            return self._engine.current(world, located, head).resolution.etag
        except ConfigServerError:
            return None  # told as what it is when the topic is rendered

    def due(self) -> Iterator[Frame]:
        """What has moved since the last look, all of one revision, closed by `sync`; or the heartbeat."""
        dirty = [target for target in self._subscriber.take() if target in self._held]
        beat = time.monotonic() >= self._beat_at
        if beat:  # every topic is compared now and then, whatever was heard: Vault went away, or is back
            dirty = list(self._held)
        if dirty or beat:
            world = self._engine.world
            changes = list(self._changes(world, dirty))
            yield from changes
            if changes or beat:
                yield self._sync(world)

    def resolve(self, world: World, name: str) -> Target:
        """`service/env/label` (the label may be left out, and may hold slashes) as a Target.

        Raises BadInput; Forbidden before anything is looked up, so that who may not see a service learns no labels
        either; UnknownLabel, UnknownTarget.
        """
        service, _, rest = name.partition("/")
        env, _, label = rest.partition("/")
        checked_service(service)
        envs, wanted = checked_envs(env), checked_label(label) if label else None
        self._view(service, envs)
        return self._engine.target(world, service, envs, wanted)[1]

    def digest(self) -> str:
        """A keyed digest of what the client holds, for SSE's event id."""
        return self._digest_of({target: held.etag for target, held in self._held.items()})

    def _digest_of(self, etags: Mapping[Target, str | None]) -> str:
        held = sorted((target.topic, etag or "") for target, etag in etags.items())
        return hmac.digest(self._policy.digest_key, repr(held).encode(), hashlib.sha256).hex()[:16]

    def _unsubscribe(self, command: Unsubscribe) -> None:
        names, default = set(command.topics), self._engine.world.default_label
        for target in [target for target in self._held if not names.isdisjoint(_names(target, default))]:
            self._drop(target)
        self._tell_presence()

    def _drop(self, target: Target) -> None:
        self._engine.notifier.unsubscribe(self._subscriber, [target])
        del self._held[target]

    def _changes(self, world: World, targets: Iterable[Target]) -> Iterator[Frame]:
        for target in targets:
            frame = self._change(world, target, self._held[target])
            if frame is not None:
                yield frame

    def _change(self, world: World, target: Target, held: _Held) -> Frame | None:
        try:
            view = self._view(target.service, target.envs)
            head, located = self._engine.target(world, target.service, target.envs, target.label)
            current = self._engine.current(world, located, head)
            frame = self._frame(current, view, held)
        except NotFound:
            frame = self._policy.frames.gone(target, held.etag, "") if held.failed != "gone" else None
            held.etag, held.stale, held.failed = None, (), "gone"
        except (Unavailable, Unprocessable, Forbidden) as failure:
            code = code_of(failure)
            frame = wire.error(code, target.topic, isinstance(failure, Unavailable)) if held.failed != code else None
            held.failed = code
        return frame

    def _frame(self, current: Current, view: View, held: _Held) -> Frame | None:
        base, held.failed = held.etag, None
        if held.view not in {None, view}:
            base = None  # what the client holds is the other view's document
        if base != current.resolution.etag:
            frame = self._policy.frames.content(current, view, base, patches=self._takes_patches)
            self._policy.on_pushed(frame.op or "put")
            self._policy.on_delivered(self._as_read(current.resolution.target, view), current.resolution)
        elif held.stale != current.stale:
            frame = self._policy.frames.state(current)
            self._policy.on_pushed("state")
        else:
            held.view = view
            return None
        held.etag, held.stale, held.view = current.resolution.etag, current.stale, view
        return frame

    def _as_read(self, target: Target, view: View) -> ReadRequest:
        """A delivery is a read, and is told to the auditor as one."""
        return ReadRequest(
            self._principal,
            view,
            target.service,
            target.envs,
            target.label,
            request_id=self._connection,
            address=self._address,
        )

    def _view(self, service: str, envs: tuple[str, ...]) -> View:
        view = self._policy.authorize(self._principal, service, envs)
        if view is None:
            raise Forbidden("no grant covers this topic")
        return view

    def _sync(self, world: World) -> Frame:
        self._beat()
        return wire.sync(str(world.rev), now_text(), self.digest())

    def _beat(self) -> None:
        self._beat_at = time.monotonic() + self._policy.heartbeat * random.uniform(0.9, 1.1)  # noqa: S311 - spreads load

    def _ending(self) -> Close | None:
        if self._lifetime() <= 0:
            return Close(wire.CLOSE_TOKEN, "the token has expired")
        if self._policy.is_revoked(self._principal):
            return Close(wire.CLOSE_TOKEN, "the token has been revoked")
        if time.monotonic() >= self._leave_at:
            return Close(wire.CLOSE_RESTART, "the stream has reached its age")
        if self._engine.notifier.draining and self._is_my_turn():
            return Close(wire.CLOSE_RESTART, "the worker restarts")
        return None

    def _is_my_turn(self) -> bool:
        """Leave at a random moment of the drain, so that the clients do not all knock at the next door at once."""
        if self._engine.notifier.leaving_now:
            return True
        if self._drain_at is None:
            spread = max(self._policy.limits.drain_seconds, len(self._engine.notifier) / 200)
            self._drain_at = time.monotonic() + random.uniform(0.0, spread)  # noqa: S311 - spreads load
        return time.monotonic() >= self._drain_at

    def _lifetime(self) -> float:
        return self._principal.expires_at - time.time()

    def _retry_after(self) -> float:
        """Spread the clients that come back over at least five seconds."""
        return random.uniform(0.1, max(5.0, len(self._engine.notifier) / 200))  # noqa: S311 - spreads load


def _identity(principal: Principal) -> tuple[str, str, str | None, str | None]:
    return principal.issuer, principal.subject, principal.service, principal.env


def code_of(failure: ConfigServerError) -> str:
    """The error's name as the wire writes it: UnknownLabel -> unknown-label."""
    if isinstance(failure, BadInput):
        return "bad-topic"
    name = next(kind.__name__ for kind in type(failure).__mro__ if kind.__module__ == "app.errors")
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")


def _names(target: Target, default_label: str) -> tuple[str, ...]:
    """What a client may call this topic."""
    return (target.topic, f"{target.service}/{target.env}") if target.label == default_label else (target.topic,)


def _mode(command: Subscribe, topics: int, changes: Sequence[Frame]) -> str:
    if not changes:
        return "none"
    return "changes" if any(command.topics.values()) or len(changes) < topics else "full"
