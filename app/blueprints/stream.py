"""The streams: cfg.v1 over WebSocket and over Server-Sent Events. Both run the same session."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Iterator
from urllib.parse import parse_qsl

from flask import Blueprint, Response, g, request
from flask_sock import Sock
from simple_websocket import ConnectionClosed, Server

from app.blueprints import websocket as adapter
from app.blueprints.sse import EventStream
from app.engine import Close, StreamLimits, StreamPolicy, StreamSession
from app.errors import BadInput, Forbidden, Overloaded, TooManyStreams
from app.model import Principal
from app.notify import Connection, Subscriber, now_text
from app.notify.leases import LEASE_SECONDS
from app.notify.wire import CLOSE_INTERNAL, CLOSE_SLOW, MAX_TOPICS, SUBPROTOCOL, Subscribe
from app.observability import Metrics, stream_closed, stream_opened

log = logging.getLogger(__name__)

#: Options of flask-sock, and the endpoints whose duration is no latency.
SERVER_OPTIONS = adapter.SERVER_OPTIONS
ENDPOINTS = ("stream.websocket", "stream.events")


def blueprint(policy: StreamPolicy, limits: StreamLimits, metrics: Metrics) -> Blueprint:
    routes = Blueprint("stream", __name__, url_prefix="/v1")
    notifier = policy.engine.notifier

    @routes.before_request
    def admit() -> None:
        """Everything that may be refused is refused here: after the upgrade there is no HTTP status any more."""
        _check_origin(limits.origins)
        if notifier.draining or len(notifier) >= notifier.capacity:
            metrics.count_stream(_transport(), "refused")
            raise Overloaded("this worker holds as many streams as it may", retry_after=2)
        policy.engine.world  # noqa: B018 - raises RepositoryUnavailable before the first clone
        if _transport() == "websocket":
            _check_subprotocol()
            adapter.prepare(request.environ, limits.write_timeout)
            g.stream = _Stream("websocket", policy, metrics, threading.Event())
            g.stream.take_place()

    @routes.teardown_request
    def give_back(_error: BaseException | None) -> None:
        """A WebSocket's request lasts as long as the stream does; also when the handshake fails."""
        stream: _Stream | None = g.pop("stream", None)
        if stream is not None:
            stream.close()

    def websocket(connection: Server) -> None:
        stream: _Stream = g.stream
        stream.begin(connection.event)
        stream.reason = _speak(connection, stream.session)

    def events() -> Response:
        command = _subscription()
        stream = _Stream("sse", policy, metrics, threading.Event())
        for name in command.topics:
            target = stream.session.resolve(policy.engine.world, name)
            g.topic = target.topic
            if policy.authorize(g.principal, target.service, target.envs) is None:
                raise Forbidden("no grant of this token covers this topic")
        sock = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")
        if sock is not None:
            adapter.watch_peer(sock, limits.write_timeout)
        stream.take_place()
        stream.begin()
        response = EventStream(_told(stream, command), limits.write_timeout, on_slow=stream.slow)
        response.call_on_close(stream.close)  # also when nobody ever read from it
        return response

    Sock().route("/stream", bp=routes)(websocket)
    routes.get("/events")(events)
    return routes


class _Stream:
    """One connection's place in the worker: counted, logged, and given back whatever happens."""

    def __init__(self, transport: str, policy: StreamPolicy, metrics: Metrics, wake: threading.Event) -> None:
        self._transport = transport
        self._principal: Principal = g.principal
        self._policy = policy
        self._notifier = policy.engine.notifier
        self._metrics = metrics
        self._subscriber = Subscriber(wake)
        self._address = request.remote_addr or ""
        self._id = secrets.token_hex(8)
        self._since = time.monotonic()
        self.session = StreamSession(policy, self._principal, self._subscriber, self._id, self._address)
        self._has_place = self._begun = False
        self.reason = "gone"

    def take_place(self) -> None:
        """Take a place. Raises Overloaded when the worker is full, TooManyStreams when the client has its share."""
        known = Connection(self._id, self._transport, self._principal.subject, self._address, now_text())
        instance = _instance()
        joined = self._notifier.join(self._subscriber)
        if not joined or not self._policy.presence.arrive(known, instance):
            self._metrics.count_stream(self._transport, "refused")
            self._notifier.leave(self._subscriber, [])
            if joined:
                raise TooManyStreams("this client holds as many streams as it may", retry_after=LEASE_SECONDS)
            raise Overloaded("this worker holds as many streams as it may", retry_after=2)
        self._has_place = True

    def begin(self, wake: threading.Event | None = None) -> None:
        """The stream is open. `wake` is the event that its transport sets when something comes in."""
        if wake is not None:
            self._subscriber.wake = wake
        self._begun = True
        self._metrics.count_stream(self._transport, "opened")
        self._metrics.add_stream(self._transport, 1)
        stream_opened(
            transport=self._transport, address=self._address, subject=self._principal.subject, connection=self._id
        )

    def slow(self) -> None:
        self.reason = str(CLOSE_SLOW)

    def close(self) -> None:
        if not self._has_place:
            return
        self._has_place = False
        self._notifier.leave(self._subscriber, list(self.session.targets))
        self._policy.presence.depart(self._id)
        if not self._begun:
            return
        self._metrics.add_stream(self._transport, -1)
        stream_closed(
            transport=self._transport,
            address=self._address,
            subject=self._principal.subject,
            seconds=time.monotonic() - self._since,
            reason=self.reason,
            connection=self._id,
        )


def _speak(connection: Server, session: StreamSession) -> str:
    """Write what the session says; returns why it ended: our close code, or the client's.

    Nothing is raised out of here: Flask would write a 500 into the upgraded socket.
    """
    connection.input_buffer = adapter.Inbox(connection.input_buffer)
    try:
        for item in session.run((), lambda: adapter.messages(connection), lambda: connection.connected):
            if isinstance(item, Close):
                adapter.close(connection, item.code, item.reason)
                return str(item.code)
            connection.sock.send(item.websocket)
    except adapter.SlowReader:
        connection.connected = False
        return str(CLOSE_SLOW)
    except (OSError, ConnectionClosed):
        connection.connected = False
        return "gone"
    except Exception:
        log.exception("stream.failed")
        if connection.connected:
            adapter.close(connection, CLOSE_INTERNAL, "internal error")
        return str(CLOSE_INTERNAL)
    return str(int(connection.close_reason))


def _told(stream: _Stream, command: Subscribe) -> Iterator[bytes]:
    """The body of an event stream; closed by the server as soon as a write fails."""
    try:
        for item in stream.session.run((command,), list, lambda: True):
            if isinstance(item, Close):
                stream.reason = str(item.code)
                return
            yield item.sse
    except Exception:  # the answer has begun: an error page would land in the middle of it
        log.exception("stream.failed")
        stream.reason = str(CLOSE_INTERNAL)


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
    return Subscribe(topics, digest=_held_digest(), accepts_patches=accepts_patches)


def _held_digest() -> str | None:
    """What the client held when it lost the stream: the second half of the last event's id."""
    return request.headers.get("Last-Event-ID", "").partition(";")[2] or None


def _instance() -> str | None:
    """Which instance of a service this is, if it says so at the door."""
    given = request.headers.get("X-Config-Instance")
    if given is not None and not (given.isprintable() and given.isascii() and 0 < len(given) <= 128):
        raise BadInput("X-Config-Instance", "1 to 128 printable ASCII characters")
    return given


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


def _check_subprotocol() -> None:
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    if SUBPROTOCOL not in (name.strip() for name in offered.split(",")):
        raise BadInput("Sec-WebSocket-Protocol", f"must offer {SUBPROTOCOL}")


def _transport() -> str:
    return "websocket" if request.endpoint == "stream.websocket" else "sse"
