"""Hundreds of streams in one thread, as bytes: when each was told goodbye, with which code, and how it ended."""

from __future__ import annotations

import base64
import json
import re
import selectors
import socket
import struct
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from devstack.server import Server
from tests.cluster.clients import bearer
from tests.cluster.rawsocket import HANDSHAKE, frame

_GOODBYE = re.compile(rb'\{"type":"goodbye"[^}]*\}')
#: A close frame without a mask: its code, and a reason.
_CLOSE = re.compile(rb"\x88[\x02-\x7d](..)", re.DOTALL)


@dataclass
class Stream:
    """`told_at` and `ended_at` are monotonic seconds, 0 while it has not come to that."""

    kind: str
    socket: socket.socket
    received: bytes = b""
    told_at: float = 0.0
    ended_at: float = 0.0

    @property
    def goodbye(self) -> dict[str, Any]:
        found = _GOODBYE.search(self.received)
        return dict(json.loads(found[0])) if found else {}

    @property
    def close_code(self) -> int | None:
        """What stands in the close frame after the goodbye."""
        found = _CLOSE.search(self.received.rpartition(b'"goodbye"')[2])
        return struct.unpack("!H", found[1])[0] if found else None

    def add(self, data: bytes) -> None:
        self.received += data
        if not self.told_at and _GOODBYE.search(self.received):
            self.told_at = time.monotonic()


@dataclass
class Crowd:
    """Half of them WebSockets, half event streams, all of one topic; read from the beginning to the end."""

    server: Server
    token: str
    topic: str
    size: int
    streams: list[Stream] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._selector = selectors.DefaultSelector()
        self._over = threading.Event()
        with ExitStack() as closing:
            for number in range(self.size):
                stream = self._websocket() if number % 2 else self._events()
                closing.callback(stream.socket.close)
                stream.socket.setblocking(False)
                self._selector.register(stream.socket, selectors.EVENT_READ, stream)
                self.streams.append(stream)
            self._closing = closing.pop_all()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(5)
        self._closing.close()
        self._selector.close()

    def all_hold(self) -> bool:
        return all(b'"sync"' in stream.received for stream in self.streams)

    def all_ended(self) -> bool:
        return all(stream.ended_at for stream in self.streams)

    def _websocket(self) -> Stream:
        sock = self._asked("/v1/stream", {**HANDSHAKE, "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode()})
        head = sock.recv(4096)
        assert head.startswith(b"HTTP/1.1 101"), head
        sock.sendall(frame(json.dumps({"type": "subscribe", "topics": [{"name": self.topic}]}).encode()))
        return Stream("websocket", sock, head)

    def _events(self) -> Stream:
        return Stream("sse", self._asked(f"/v1/events?topic={self.topic}", {"Host": "server"}))

    def _asked(self, path: str, headers: dict[str, str]) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.server.port), timeout=30)
        lines = [f"{name}: {value}" for name, value in {**headers, **bearer(self.token)}.items()]
        sock.sendall("\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode())
        return sock

    def _read(self) -> None:
        while not self._over.is_set():
            for key, _ in self._selector.select(0.1):
                stream: Stream = key.data
                try:
                    data = stream.socket.recv(65536)
                except OSError:
                    data = b""
                if data:
                    stream.add(data)
                else:
                    stream.ended_at = time.monotonic()
                    self._selector.unregister(stream.socket)
