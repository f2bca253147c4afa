"""The streams: cfg.v1 over WebSocket and over Server-Sent Events. Both run the same session."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Sequence
from urllib.parse import parse_qsl

from flask import Blueprint, Response, g, request
from flask_sock import Sock
from simple_websocket import Server
from wsproto.utilities import RemoteProtocolError

from app.blueprints import handover
from app.blueprints.http import instance_header
from app.errors import BadInput, Forbidden, Overloaded, TooManyStreams
from app.notify import Connection, Subscriber, now_text
from app.notify.leases import LEASE_SECONDS
from app.notify.wire import MAX_TOPICS, SUBPROTOCOL, Command, Subscribe
from app.observability import Metrics, stream_closed, stream_opened
from app.streams import (
    Carrier,
    Codec,
    EventStreamCodec,
    Listener,
    Socket,
    StreamLoop,
    StreamPolicy,
    StreamSession,
    WebSocketCodec,
)

#: Options of flask-sock, and the endpoints whose duration is no latency.
SERVER_OPTIONS = handover.SERVER_OPTIONS
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
ENDPOINTS = ("stream.websocket", "stream.events")


def blueprint(policy: StreamPolicy, loop: StreamLoop, metrics: Metrics) -> Blueprint:
    routes = Blueprint("stream", __name__, url_prefix="/v1")
    notifier = policy.engine.notifier

    @routes.before_request
    def admit() -> None:
        """Everything that may be refused is refused here: after the upgrade there is no HTTP status any more."""
        _check_origin(policy.limits.origins)
        if notifier.draining or len(notifier) >= notifier.capacity:
            metrics.count_stream(_transport(), "refused")
            raise Overloaded("this worker holds as many streams as it may", retry_after=2)
        policy.engine.world  # noqa: B018 - raises RepositoryUnavailable before the first clone
        if _transport() == "websocket":
            _check_handshake()
            handover.prepare(request.environ)
            g.place = _Place("websocket", policy, loop, metrics)

    @routes.teardown_request
    def give_back(_error: BaseException | None) -> None:
        """A place whose stream has not begun: the handshake failed, or the client went away before the answer."""
        place: _Place | None = g.pop("place", None)
        if place is not None:
            place.give_back()

    def websocket(connection: Server) -> None:
        place: _Place = g.place

        def begin(sock: Socket, on_closed: Callable[[], None] | None, first: bytes) -> None:
            place.begin(sock, WebSocketCodec(), (), on_closed, first)

        handover.take_websocket(connection, request.environ, begin)

    def events() -> Response:
        command = _subscription()
        _check_topics(policy, command)
        place = g.place = _Place("sse", policy, loop, metrics)

        def begin(sock: Socket, on_closed: Callable[[], None] | None, first: bytes) -> None:
            place.begin(sock, EventStreamCodec(), (command,), on_closed, first)

        return handover.EventStream(begin)

    Sock().route("/stream", bp=routes)(websocket)
    routes.get("/events")(events)
    return routes


class _Place:
    """One stream's place in the worker: counted, logged, and given back whatever happens.

    Raises Overloaded when the worker is full, TooManyStreams when the client has its share.
    """

    __slots__ = (
        "_begun",
        "_held",
        "_instance",
        "_listener",
        "_loop",
        "_metrics",
        "_policy",
        "_session",
        "_since",
        "_subscriber",
        "_transport",
    )

    def __init__(self, transport: str, policy: StreamPolicy, loop: StreamLoop, metrics: Metrics) -> None:
        self._transport = transport
        self._policy = policy
        self._loop = loop
        self._metrics = metrics
        self._listener = Listener(g.principal, secrets.token_hex(8), request.remote_addr or "")
        self._subscriber = Subscriber(_Nobody())
        self._session: StreamSession | None = None
        self._since = time.monotonic()
        self._begun = False
        self._held = True
        self._instance = instance_header()
        self._take(self._instance)

    def begin(
        self,
        sock: Socket,
        codec: Codec,
        opening: Sequence[Command],
        on_closed: Callable[[], None] | None,
        first: bytes,
    ) -> None:
        """The stream is open. From here on the loop has it."""
        carrier = Carrier(
            self._loop,
            sock,
            codec,
            write_timeout=self._policy.limits.write_timeout,
            on_end=self.end,
            on_closed=on_closed,
            first=first,
        )
        self._subscriber.wake = carrier
        self._session = StreamSession(
            self._policy,
            self._listener,
            self._subscriber,
            opening=opening,
            tells_digest=self._transport == "sse",
            instance=self._instance,
        )
        self._begun = True
        self._metrics.count_stream(self._transport, "opened")
        self._metrics.add_stream(self._transport, 1)
        stream_opened(**self._names())
        carrier.carry(self._session)

    def give_back(self) -> None:
        """If nothing has begun."""
        if not self._begun:
            self._leave()

    def end(self, reason: str) -> None:
        """The stream has ended."""
        self._leave()
        self._metrics.add_stream(self._transport, -1)
        stream_closed(seconds=time.monotonic() - self._since, reason=reason, **self._names())

    def _take(self, instance: str | None) -> None:
        listener, presence = self._listener, self._policy.presence
        principal = listener.principal
        known = Connection(
            listener.connection,
            self._transport,
            principal.subject,
            listener.address,
            now_text(),
            issuer=principal.issuer,
        )
        joined = self._policy.engine.notifier.join(self._subscriber)
        if joined and presence.arrive(known, instance):
            return
        self._metrics.count_stream(self._transport, "refused")
        self._policy.engine.notifier.leave(self._subscriber, [])
        if joined:
            raise TooManyStreams("this client holds as many streams as it may", retry_after=LEASE_SECONDS)
        raise Overloaded("this worker holds as many streams as it may", retry_after=2)

    def _leave(self) -> None:
        if self._held:
            self._held = False
            targets = list(self._session.targets) if self._session is not None else []
            self._policy.engine.notifier.leave(self._subscriber, targets)
            self._policy.presence.depart(self._listener.connection)

    def _names(self) -> dict[str, str]:
        listener = self._listener
        return {
            "transport": self._transport,
            "address": listener.address,
            "subject": listener.principal.subject,
            "connection": listener.connection,
        }


class _Nobody:
    """Who is woken before there is a carrier: its first turn looks at everything anyhow."""

    def set(self) -> None:
        return None


def _check_topics(policy: StreamPolicy, command: Subscribe) -> None:
    """An event stream names its topics in the request, so what is wrong with one is told as a status."""
    listener = Listener(g.principal, "", "")
    session = StreamSession(policy, listener, Subscriber(_Nobody()))
    for name in command.topics:
        target, _ = session.resolve(policy.engine.world, name)
        g.topic = target.topic


def _subscription() -> Subscribe:
    """`topic` and `etag` in pairs, in the order of the query: an etag belongs to the topic before it."""
    topics: dict[str, str | None] = {}
    last: str | None = None
    for name, value in _pairs():
        if name == "topic":
            topics[value] = None
            last = value
        elif name == "etag" and last is not None:
            topics[last] = value or None
    if not 0 < len(topics) <= MAX_TOPICS:
        raise BadInput("topic", f"name 1 to {MAX_TOPICS} topics, as service/env or service/env/label")
    accepts_patches = "patch" in request.args.getlist("accept")
    # What the client had seen when it lost the stream, and what it held: the two halves of the last event's id.
    since, _, digest = request.headers.get("Last-Event-ID", "").partition(";")
    return Subscribe(topics, since or None, digest=digest or None, accepts_patches=accepts_patches)


def _pairs() -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            request.query_string.decode("ascii"), keep_blank_values=True, max_num_fields=2 * MAX_TOPICS + 8
        )
    except ValueError as exc:
        raise BadInput("query", "is malformed or too long") from exc


def _check_origin(allowed: frozenset[str]) -> None:
    """Browsers send an Origin, and cannot be told not to; other clients need none (cross-site WebSocket hijacking)."""
    origin = request.headers.get("Origin")
    if origin is not None and origin not in allowed:
        raise Forbidden("this origin may not connect")


def _check_handshake() -> None:
    """What wsproto lets pass (RFC 6455, 4.2.1), and our subprotocol. Raises RemoteProtocolError as wsproto does."""
    headers = request.headers
    if request.method != "GET" or request.environ.get("SERVER_PROTOCOL") != "HTTP/1.1":
        raise RemoteProtocolError("a WebSocket is opened by GET of HTTP/1.1")
    if headers.get("Sec-WebSocket-Version") != "13" or not _KEY.fullmatch(headers.get("Sec-WebSocket-Key", "")):
        raise RemoteProtocolError("of another version, or without a key of 16 bytes")
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    if SUBPROTOCOL not in (name.strip() for name in offered.split(",")):
        raise BadInput("Sec-WebSocket-Protocol", f"must offer {SUBPROTOCOL}")


def _transport() -> str:
    return "websocket" if request.endpoint == "stream.websocket" else "sse"
