"""The one adapter between flask-sock and us, with flask-sock's faults mended at the socket.

simple-websocket sends with `send`, which under gevent sends a part; here it is `sendall`, under a lock and a time
limit. It accepts permessage-deflate always, at 95 KB a connection; here nobody offers it. It hands out its own Event,
which is the stream's wake-up too, so one wait serves both directions.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

from simple_websocket import Server

from app.notify.wire import SUBPROTOCOL

#: How many messages of one client may wait to be looked at.
MAX_WAITING = 64
#: The largest message that a client may send, in bytes.
MAX_INBOUND = 16 * 1024
_TCP_USER_TIMEOUT = 18  # Linux, tcp(7); the socket module has no name for it everywhere
#: A peer that acknowledges nothing for this long is gone, in seconds.
_SILENCE = 30.0

SERVER_OPTIONS = {"max_message_size": MAX_INBOUND, "subprotocols": [SUBPROTOCOL]}

_SendAll: TypeAlias = Callable[[socket.socket, bytes, float], None]


class SlowReader(OSError):
    """A write was blocked for too long; part of a frame may be out, so nothing may follow it."""


class StreamSocket:
    """What simple-websocket sees of a socket. Writers take turns; each write is whole or the connection is cut."""

    def __init__(self, sock: socket.socket, send_all: _SendAll, write_timeout: float) -> None:
        self._sock = sock
        self._send_all = send_all
        self._write_timeout = write_timeout
        self._lock = threading.Lock()  # held while a frame is written, so that frames do not mix

    def recv(self, size: int) -> bytes:
        return self._sock.recv(size)

    def send(self, data: bytes) -> int:
        with self._lock:
            try:
                self._send_all(self._sock, data, self._write_timeout)
            except (SlowReader, TimeoutError) as failure:  # the second is the kernel's: TCP_USER_TIMEOUT is as long
                self.cut()
                raise SlowReader("the client does not read") from failure
        return len(data)

    def fileno(self) -> int:
        return self._sock.fileno()

    def cut(self) -> None:
        """End the connection without another byte (RST)."""
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is gone already

    def finish(self) -> None:
        """Nothing more comes from here: the end of file after a close frame, which the client waits for."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._sock.close()


def prepare(environ: dict[str, Any], write_timeout: float) -> None:
    """Mend the request before flask-sock sees it. `write_timeout` is in seconds."""
    environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
    for name, send_all in (("gunicorn.socket", _send_all_gevent), ("werkzeug.socket", _send_all_threads)):
        sock = environ.get(name)
        if sock is not None:
            watch_peer(sock, _SILENCE)
            environ[name] = StreamSocket(sock, send_all, write_timeout)


def stream_socket(environ: dict[str, Any], write_timeout: float) -> StreamSocket | None:
    """gunicorn's socket, to be written to by us alone; None under another server."""
    sock = environ.get("gunicorn.socket")
    return StreamSocket(sock, _send_all_gevent, write_timeout) if sock is not None else None


def watch_peer(sock: socket.socket, seconds: float) -> None:
    """Let the kernel cut off a peer that acknowledges nothing, or takes nothing, for this long."""
    if sock.family in {socket.AF_INET, socket.AF_INET6}:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, round(seconds * 1000))


class Inbox(list[str | bytes]):
    """simple-websocket's queue of messages, which has no bound of its own: over the limit the client is cut off."""

    def append(self, message: str | bytes) -> None:
        if len(self) >= MAX_WAITING:
            raise OSError("too many messages are waiting")
        super().append(message)


def close(connection: Server, code: int, reason: str) -> None:
    """Say goodbye by RFC 6455, 7.1.1; Werkzeug alone would keep the connection for another request."""
    connection.close(code, reason)
    connection.sock.finish()


def messages(connection: Server) -> list[str | bytes]:
    """What has come in since the last call."""
    taken: list[str | bytes] = []
    while connection.input_buffer:
        taken.append(connection.input_buffer.pop(0))
    return taken


def _send_all_gevent(sock: socket.socket, data: bytes, timeout: float) -> None:
    import gevent  # here alone: the rest of the application runs on threads as well

    with gevent.Timeout(timeout, SlowReader("the client does not read")):
        sock.sendall(data)


def _send_all_threads(sock: socket.socket, data: bytes, timeout: float) -> None:
    """A timeout set on the socket would end idle reads of the other thread as well; so wait for room here."""
    deadline = time.monotonic() + timeout
    rest = memoryview(data)
    room = select.poll()
    room.register(sock, select.POLLOUT)
    while rest:
        if not room.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise SlowReader("the client does not read")
        rest = rest[sock.send(rest, socket.MSG_DONTWAIT) :]
