"""Takes a connection out of the hands of the server that accepted it: the one adapter to flask-sock and WSGI servers.

flask-sock has the route and speaks the handshake. Then simple-websocket would give each connection a thread, an
unbounded inbox, and sends that gevent cuts short; here it gets a thread that never runs, and a carrier goes on with
the socket. gunicorn's greenlet ends where the stream begins, so a stream costs neither its request nor its stack.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from flask import Response
from simple_websocket import Server
from werkzeug.http import http_date

from app.notify.wire import SUBPROTOCOL
from app.streams.sockets import Socket, has_ended, is_ours_to_keep, own, watch_peer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

#: (the socket, what is called when it is closed, bytes that go out first): the stream begins.
Begin: TypeAlias = Callable[[Socket, Callable[[], None] | None, bytes], None]


class _NoThread:
    """What simple-websocket starts for each connection."""

    name = "none"

    def __init__(self, target: Callable[[], None]) -> None:
        """`target` would read the socket, which the carrier does."""

    def start(self) -> None:
        return None


SERVER_OPTIONS = {"subprotocols": [SUBPROTOCOL], "thread_class": _NoThread}


def prepare(environ: dict[str, Any]) -> None:
    """Before the handshake: no compression (95 KB a connection, and bombs), and a kernel that looks after the peer."""
    environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
    sock = _socket(environ)
    if sock is not None:
        watch_peer(sock)


def take_websocket(connection: Server, environ: dict[str, Any], begin: Begin) -> None:
    """After the handshake. Returns when the server may forget the connection."""
    connection.connected = False  # flask-sock would send a close frame when the view returns
    _hand_over(connection.sock, environ, begin, b"")


class EventStream(Response):
    """A response of type text/event-stream, whose head goes out with the first events. `begin` begins the stream."""

    default_mimetype = "text/event-stream"

    def __init__(self, begin: Begin) -> None:
        super().__init__()
        self._begin = begin
        self.headers["X-Accel-Buffering"] = "no"  # nginx would hold the events back
        self.headers["Cache-Control"] = "no-store, private, no-transform"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        sock = _socket(environ)
        if sock is None or environ["REQUEST_METHOD"] == "HEAD":
            return super().__call__(environ, start_response)
        del self.headers["Content-Length"]
        self.headers["Connection"] = "close"
        self.headers["Date"] = http_date()
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {value}" for name, value in self.headers.items()), "", ""]
        watch_peer(sock)
        _hand_over(sock, environ, self._begin, "\r\n".join(lines).encode("latin-1"))
        if "werkzeug.socket" in environ:
            raise ConnectionAbortedError("the stream is over")  # Werkzeug: nothing is left to be written
        raise StopIteration  # gunicorn: the connection has been seen to


def departure(environ: dict[str, Any]) -> Callable[[], bool]:
    """What tells whether the client of this request has closed its connection."""
    sock = _socket(environ)
    return (lambda: False) if sock is None else lambda: has_ended(sock)


def _socket(environ: dict[str, Any]) -> socket.socket | None:
    sock: socket.socket | None = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    return sock


def _hand_over(sock: socket.socket, environ: dict[str, Any], begin: Begin, first: bytes) -> None:
    """gunicorn closes its descriptor and ours lives on; Werkzeug, and TLS, must be kept from it until the end."""
    if "gunicorn.socket" in environ and is_ours_to_keep(sock):
        begin(own(sock), None, first)
        return
    over = threading.Event()
    begin(own(sock), over.set, first)
    over.wait()
