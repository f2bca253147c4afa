"""One stream's conversation, whatever carries it: frames in, frames out. State, not events: it compares etags."""

from __future__ import annotations

import hmac
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.engine import World
from app.errors import BadInput, ConfigServerError, Forbidden, NotFound, Unauthenticated, Unavailable, code_of
from app.model import Principal, Stale, Target, View, checked_envs, checked_label, checked_service
from app.notify import Rev, Subscriber, wire
from app.notify.wire import Auth, Frame, Subscribe, Unsubscribe
from app.streams.looks import Look
from app.streams.policy import Listener, StreamPolicy

#: Refused topics of one connection that are put on record one by one; the rest would only flood the trail.
MAX_DENIALS = 20
#: How long a token's end is reckoned by a clock that does not know of a change of the date, in seconds.
CLOCK_SECONDS = 60.0
#: How often is looked whether this worker has caught up with who waits for it, in seconds.
AHEAD_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Close:
    """The end of a stream: a close code of WebSocket (cfg.v1), and why."""

    code: int
    reason: str


@dataclass(slots=True)
class _Held:
    """What this connection has been told of one topic.

    `may` is the view that its token allows, `failed` the code of the failure that it was told last.
    """

    etag: str | None
    may: View
    stale: tuple[Stale, ...] = ()
    failed: str | None = None


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What a client said, to be done when `rev` is installed here, or at `until` (monotonic seconds)."""

    rev: Rev
    until: float
    commands: list[wire.Command]


class StreamSession:
    """Used by one thread at a time. `subscriber.wake` is set when there is something to do.

    `opening` are commands that came with the request. `tells_digest`: each `sync` has an id (SSE's), by which a client
    that comes back says in a word what it holds.
    """

    __slots__ = (
        "_ahead",
        "_beat_at",
        "_closing",
        "_connection",
        "_denials",
        "_drain_at",
        "_engine",
        "_held",
        "_inbound",
        "_instance",
        "_leave_at",
        "_listener",
        "_opening",
        "_policy",
        "_principal",
        "_quiet_until",
        "_subscriber",
        "_takes_patches",
        "_tells_digest",
        "_told",
        "_warned",
    )

    def __init__(
        self,
        policy: StreamPolicy,
        listener: Listener,
        subscriber: Subscriber,
        *,
        opening: Sequence[wire.Command] = (),
        tells_digest: bool = False,
        instance: str | None = None,
    ) -> None:
        self._policy = policy
        self._engine = policy.engine
        self._listener = listener
        self._principal = listener.principal
        self._subscriber = subscriber
        self._connection = listener.connection
        self._opening: Sequence[wire.Command] | None = opening
        self._tells_digest = tells_digest
        self._instance = instance
        self._held: dict[Target, _Held] = {}
        self._takes_patches = False
        self._closing: Close | None = None
        self._warned = False
        self._inbound: tuple[float, ...] = ()
        self._beat_at = 0.0
        self._denials = 0
        self._leave_at = time.monotonic() + policy.limits.max_age * random.uniform(0.8, 1.0)  # noqa: S311 - spreads load
        self._drain_at: float | None = None
        self._quiet_until = 0.0
        self._ahead: _Ahead | None = None
        self._told: World | None = None

    @property
    def targets(self) -> Iterable[Target]:
        return self._held

    def turn(self, messages: Sequence[str | bytes | None] = ()) -> Iterable[Frame | Close]:
        """What is to be sent now, in order; nothing follows a Close. To be taken to its end before the next turn.

        `messages` are what the client has said since the last turn, None for a ping. The next turn is due when
        `subscriber.wake` is set, when the client says something, and at `due_at`.
        """
        if self._is_quiet() and not messages:
            return self.due()
        return self._eventful(messages)

    def due_at(self) -> float:
        """When something is due by itself, in monotonic seconds."""
        due_at = min(self._beat_at, self._quiet_until)
        return due_at if self._ahead is None else min(due_at, time.monotonic() + AHEAD_SECONDS)

    def handle(self, command: wire.Command) -> Iterator[Frame]:
        """Do what the client asks, all in its order; the frames to send for it."""
        if self._ahead is None:
            self._ahead = self._waits(command)
        if self._ahead is None:
            yield from self._do(command)
        else:
            self._ahead.commands.append(command)

    def _do(self, command: wire.Command) -> Iterator[Frame]:
        if isinstance(command, Subscribe):
            yield from self.subscribe(command)
        elif isinstance(command, Unsubscribe):
            self._unsubscribe(command)
        elif isinstance(command, Auth):
            yield from self._renew(command)
        else:
            self._policy.presence.acknowledge(self._connection, command)

    def digest(self) -> str:
        """A keyed digest of what the client holds, for SSE's event id."""
        return self._digest_of({target: held.etag for target, held in self._held.items()})

    def _is_quiet(self) -> bool:
        """Whether there is nothing to look at but topics: so it is for the thousands who are told of one change."""
        return (
            self._opening is None
            and self._ahead is None
            and self._closing is None
            and time.monotonic() < self._quiet_until
            and not (self._engine.notifier.draining and self._drain_at is None)
            and not self._policy.is_revoked(self._principal)
        )

    def _eventful(self, messages: Sequence[str | bytes | None]) -> Iterator[Frame | Close]:
        if self._opening is not None:
            yield from self._greet(self._opening)
        for message in messages:
            yield from self._received(message)
        yield from self._caught_up()
        ending = self._closing or self._ending()
        if ending is not None:
            if ending.code != wire.CLOSE_BAD_FRAME:
                yield wire.goodbye(ending.code, self._retry_after())
            yield ending
            return
        if not self._warned and self._lifetime() <= self._policy.limits.expiry_warning:
            self._warned = True
            yield wire.auth_expiring(max(0.0, self._lifetime()))
        yield from self.due()
        self._look_ahead()

    # What the client says

    def _greet(self, opening: Sequence[wire.Command]) -> Iterator[Frame]:
        self._opening = None
        yield wire.hello(self._connection, str(self._engine.world.rev), self._policy.heartbeat)
        self._beat()
        for command in opening:
            yield from self.handle(command)

    def _waits(self, command: wire.Command) -> _Ahead | None:
        """A client that comes from another worker may have seen more than there is here: it is told nothing older."""
        rev = Rev.parse(command.since) if isinstance(command, Subscribe) and command.since else None
        if rev is None or self._engine.has(rev):
            return None
        return _Ahead(rev, time.monotonic() + self._policy.limits.catch_up, [])

    def _caught_up(self) -> Iterator[Frame]:
        """What waited, once it need not wait longer. A false claim is heard too, in the end."""
        ahead = self._ahead
        if ahead is not None and (self._engine.has(ahead.rev) or time.monotonic() >= ahead.until):
            self._ahead = None
            for command in ahead.commands:
                yield from self._do(command)

    def _received(self, message: str | bytes | None) -> Iterator[Frame]:
        """One message of the client. What is not of this protocol, or comes too often, ends the stream."""
        if self._closing is not None:
            return
        if not self._in_time():
            self._closing = Close(wire.CLOSE_LIMIT, "too many messages")
            return
        if message is None:
            return
        try:
            yield from self.handle(wire.parse(message))
        except wire.BadFrame as bad:
            yield wire.error("bad-frame", None, False)
            self._closing = Close(wire.CLOSE_BAD_FRAME, str(bad))

    def _in_time(self) -> bool:
        """Whether the client has not said more than it may in the last seconds."""
        limits, now = self._policy.limits, time.monotonic()
        self._inbound = (*(at for at in self._inbound if now - at < limits.inbound_seconds), now)
        return len(self._inbound) <= limits.inbound

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
        self._listener = Listener(principal, self._connection, self._listener.address)
        self._principal = principal
        self._warned = False
        followed = list(self._held.items())
        for target, held in followed:
            may = self._policy.authorize(principal, target.service, target.envs)
            if may is None:
                self._policy.on_denied(self._listener, target.topic)
                yield wire.error("forbidden", target.topic, False)
                self._drop(target)
            elif may is not held.may:
                held.may = may
                self._subscriber.mark((target,))  # it may read otherwise now
        self._tell_presence()
        if followed and not self._held:
            self._closing = Close(wire.CLOSE_FORBIDDEN, "no grant of the new token covers what was followed")

    # Subscribing

    def subscribe(self, command: Subscribe) -> Iterator[Frame]:
        """Register first, then look: what moves in between is marked and comes with the next turn."""
        self._takes_patches = command.accepts_patches
        instance = command.client.get("instance")
        if instance and not self._policy.presence.identify(self._connection, instance, command.client.get("version")):
            self._closing = Close(wire.CLOSE_LIMIT, "this instance holds as many streams as it may")
            return
        self._instance = instance or self._instance
        fresh: dict[Target, None] = {}  # in order, and once: `pay/prod` and `pay/prod/main` may be one topic
        for name, etag in command.topics.items():
            try:
                fresh[self._follow(name, etag)] = None
            except ConfigServerError as failure:
                yield self._refused(failure, name)
        self._tell_presence()
        if fresh:
            installed = self._engine.world  # read after registering: what moves later is marked
            self._take_over(installed, command)
            changes = self._changes(installed, fresh)
            yield wire.subscribed([target.topic for target in fresh], _mode(command, len(fresh), changes))
            yield from changes
            yield self._sync(installed)

    def resolve(self, world: World, name: str) -> tuple[Target, View]:
        """`service/env/label` (the label may be left out, and may hold slashes) as a Target, and its view.

        Raises BadInput; Forbidden before anything is looked up, so that who may not see a service learns no labels
        either; UnknownLabel, UnknownTarget.
        """
        service, _, rest = name.partition("/")
        env, _, label = rest.partition("/")
        checked_service(service)
        envs, wanted = checked_envs(env), checked_label(label) if label else None
        view = self._view(service, envs)
        return self._engine.target(world, service, envs, wanted)[1], view

    def _view(self, service: str, envs: tuple[str, ...]) -> View:
        view = self._policy.authorize(self._principal, service, envs)
        if view is None:
            raise Forbidden("no grant covers this topic")
        return view

    def _follow(self, name: str, etag: str | None) -> Target:
        target, view = self.resolve(self._engine.world, name)
        if target not in self._held and len(self._held) >= wire.MAX_TOPICS:
            raise _TooManyTopics
        target = self._listened(self._engine.world.routed(target, self._instance))
        self._held[target] = _Held(etag, view)
        return target

    def _listened(self, target: Target) -> Target:
        return self._engine.notifier.subscribe(self._subscriber, target, self._engine.inputs(target))

    def _routed(self, world: World) -> World:
        """Rollouts have begun, grown or ended: follow what this instance gets now, and go on from what it holds.

        The world that is to be told of: one read after registering, as what moves later is marked.
        """
        told = self._told
        if told is not None and not (told.rollouts or world.rollouts):
            return world
        while told is None or told.routes != world.routes:
            for target, held in list(self._held.items()):
                given = world.routed(target, self._instance)
                if given != target:
                    self._drop(target)
                    self._held[self._listened(given)] = held
            told, world = world, self._engine.world
        return world

    def _refused(self, failure: ConfigServerError, name: str) -> Frame:
        if isinstance(failure, Forbidden) and self._denials < MAX_DENIALS:
            self._denials += 1
            self._policy.on_denied(self._listener, name)
        return wire.error(topic_code(failure), name, isinstance(failure, Unavailable))

    def _unsubscribe(self, command: Unsubscribe) -> None:
        names, default = set(command.topics), self._engine.world.default_label
        for target in [target for target in self._held if not names.isdisjoint(_names(target, default))]:
            self._drop(target)
        self._tell_presence()

    def _drop(self, target: Target) -> None:
        self._engine.notifier.unsubscribe(self._subscriber, [target])
        del self._held[target]

    def _tell_presence(self) -> None:
        self._policy.presence.subscribed(self._connection, [target.topic for target in self._held])

    def _take_over(self, world: World, command: Subscribe) -> None:
        """A client that shows the digest of exactly what it would be sent now holds it already."""
        if command.digest is None or any(command.topics.values()):
            return
        etags: dict[Target, str | None] = {}
        for target, held in self._held.items():
            current = self._policy.looks.at(world, target).current
            etags[target] = current.resolution.etag_in(held.may) if current is not None else None
        if None not in etags.values() and hmac.compare_digest(self._digest_of(etags).encode(), command.digest.encode()):
            for target, held in self._held.items():
                held.etag = etags[target]

    # What it is told

    def due(self) -> list[Frame]:
        """What has moved since the last look, all of one revision, closed by `sync`; or the heartbeat."""
        dirty: Iterable[Target] = [target for target in self._subscriber.take() if target in self._held]
        beat = time.monotonic() >= self._beat_at
        if beat:  # every topic is compared now and then, whatever was heard: Vault went away, or is back
            dirty = self._held
        if not (dirty or beat):
            return []
        world = self._engine.world
        if world is not self._told:  # all of its revision goes out as one, marked or not yet marked
            world = self._routed(world)
            self._told, dirty = world, self._held
        told = self._changes(world, dirty)
        if told or beat:
            told.append(self._sync(world))
        return told

    def _changes(self, world: World, targets: Iterable[Target]) -> list[Frame]:
        looks, held = self._policy.looks, self._held
        told = (self._change(target, looks.at(world, target), held[target]) for target in targets)
        return [frame for frame in told if frame is not None]

    def _change(self, target: Target, look: Look, held: _Held) -> Frame | None:
        try:
            if look.failure is not None:
                return self._failed(look.failure, target, held)
            return self._frame(target, look, held)
        except ConfigServerError as failure:  # a secret that cannot be filled in after all
            return self._failed(failure, target, held)

    def _failed(self, failure: ConfigServerError, target: Target, held: _Held) -> Frame | None:
        """Told once. What the client holds stays good, unless the target is not there any more."""
        code = "gone" if isinstance(failure, NotFound) else topic_code(failure)
        if held.failed == code:
            return None
        held.failed = code
        if code != "gone":
            return wire.error(code, target.topic, isinstance(failure, Unavailable))
        frame = self._policy.looks.gone(target, held.etag)
        held.etag, held.stale = None, ()
        return frame

    def _frame(self, target: Target, look: Look, held: _Held) -> Frame | None:
        current = look.current
        assert current is not None
        if held.etag == current.resolution.etag_in(held.may) and held.stale == current.stale:
            held.failed = None
            return None
        view = held.may = self._view(target.service, target.envs)  # asked again at each delivery
        etag = current.resolution.etag_in(view)
        if held.etag != etag:
            frame = look.content(view, held.etag, patches=self._takes_patches)
            self._policy.on_pushed(frame.op or "put")
            self._policy.on_delivered(self._listener, view, current.resolution)
        elif held.stale != current.stale:
            frame = look.state(view)
            self._policy.on_pushed("state")
        else:
            held.failed = None
            return None
        held.etag, held.stale, held.failed = etag, current.stale, None
        return frame

    def _sync(self, world: World) -> Frame:
        self._beat()
        frame = self._policy.looks.sync(world)
        return wire.with_digest(frame, str(world.rev), self.digest()) if self._tells_digest else frame

    def _digest_of(self, etags: Mapping[Target, str | None]) -> str:
        return self._policy.looks.digest(tuple(etags.items()))

    def _beat(self) -> None:
        spread = 0.9 + 0.2 * random.random()  # noqa: S311 - spreads load
        self._beat_at = time.monotonic() + self._policy.heartbeat * spread

    def _look_ahead(self) -> None:
        """Until when nothing but topics need be looked at. The token's end is told by another clock, so: look again."""
        now, left = time.monotonic(), self._lifetime()
        end = now + (left if self._warned else left - self._policy.limits.expiry_warning)
        drain_at = end if self._drain_at is None else self._drain_at
        self._quiet_until = min(end, drain_at, self._leave_at, now + CLOCK_SECONDS)

    # The end

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


class _TooManyTopics(ConfigServerError):
    """One connection follows as many topics as it may."""


def topic_code(failure: ConfigServerError) -> str:
    """What an `error` frame calls the failure of one topic."""
    if isinstance(failure, BadInput):
        return "bad-topic"
    return "too-many-topics" if isinstance(failure, _TooManyTopics) else code_of(failure)


def _identity(principal: Principal) -> tuple[str, str, str | None, str | None]:
    return principal.issuer, principal.subject, principal.service, principal.env


def _names(target: Target, default_label: str) -> tuple[str, ...]:
    """What a client may call this topic."""
    return (target.topic, f"{target.service}/{target.env}") if target.asked_label == default_label else (target.topic,)


def _mode(command: Subscribe, topics: int, changes: Sequence[Frame]) -> str:
    if not changes:
        return "none"
    return "changes" if any(command.topics.values()) or len(changes) < topics else "full"
