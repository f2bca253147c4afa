"""A client's connection to a stream, over WebSocket or Server-Sent Events: opened, read frame by frame, cut."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode

from wsproto.frame_protocol import Opcode

from devstack.server import Server
from tests.cluster.clients import bearer
from tests.cluster.rawsocket import RawSocket, frame
from tests.protocol import validated
from tests.stress.history import Frame

#: Nothing for so long, in seconds: the line is given up. Longer than three of the longest heartbeats in tests.
PATIENCE = 70
#: What opening and reading a line may raise when the other side goes away.
BROKEN = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class Wanted:
    """What a client asks for: topic -> the etag that it holds, or None. `mark` is the id of its last event, to be told
    instead of the etags; `since` its last rev. `receive_buffer` in bytes, 0 for the kernel's choice."""

    topics: dict[str, str | None]
    since: str = ""
    mark: str = ""
    patches: bool = True
    receive_buffer: int = 0


class Line(Protocol):
    """`end` is the close code of a WebSocket, once it is over; else "lost"."""

    port: int
    end: str

    def told(self) -> Iterator[tuple[Frame, str]]:
        """The frames, each with its event's id ("" for none). Raises AssertionError when one is none of cfg.v1."""

    def cut(self) -> None:
        """Without a word, as a network does."""

    def close(self) -> None: ...


@dataclass
class WebSocketLine:
    """Frame by frame as they come, also when the last words of the server are read long after it has gone."""

    server: Server
    token: str
    instance: str
    wanted: Wanted
    end: str = "lost"

    def __post_init__(self) -> None:
        self._socket = connected(self.server, self.wanted.receive_buffer)
        self.port = int(self._socket.getsockname()[1])
        with contextlib.ExitStack() as closing:
            closing.callback(self._socket.close)
            self._raw = RawSocket(self.server, self.token, connected=self._socket)
            if self._raw.status != 101:
                raise ConnectionRefusedError(f"{self._raw.status}")
            self._raw.send(frame(json.dumps(self._subscribe()).encode()))
            closing.pop_all()

    def _subscribe(self) -> Frame:
        topics = [{"name": name, **({"etag": etag} if etag else {})} for name, etag in self.wanted.topics.items()]
        command = {"type": "subscribe", "topics": topics, "client": {"instance": self.instance, "version": "1"}}
        accept = {"accept": ["put", "patch"]} if self.wanted.patches else {}
        return {**command, **accept, **({"since": self.wanted.since} if self.wanted.since else {})}

    def told(self) -> Iterator[tuple[Frame, str]]:
        while True:
            opcode, payload = self._raw.receive()
            if opcode is Opcode.CLOSE:
                self.end = str(int.from_bytes(payload[:2]))
                return
            assert opcode is Opcode.TEXT, opcode
            yield checked(payload.decode()), ""

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()


@dataclass
class EventLine:
    server: Server
    token: str
    instance: str
    wanted: Wanted
    end: str = "lost"

    def __post_init__(self) -> None:
        pairs = [("accept", "patch")] if self.wanted.patches else []
        for name, etag in self.wanted.topics.items():
            pairs += [("topic", name), *([("etag", etag)] if etag and not self.wanted.mark else [])]
        headers = {**bearer(self.token), "X-Config-Instance": self.instance}
        headers |= {"Last-Event-ID": self.wanted.mark} if self.wanted.mark else {}
        self._socket = connected(self.server, self.wanted.receive_buffer)
        self._connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
        self._connection.sock = self._socket
        self.port = int(self._socket.getsockname()[1])
        with contextlib.ExitStack() as closing:
            closing.callback(self._socket.close)
            self._connection.request("GET", "/v1/events?" + urlencode(pairs), headers=headers)
            self._answer = self._connection.getresponse()
            if self._answer.status != 200:
                self._answer.close()
                raise ConnectionRefusedError(f"{self._answer.status}")
            closing.pop_all()

    def told(self) -> Iterator[tuple[Frame, str]]:
        event: dict[str, str] = {}
        while line := self._answer.readline():
            if not line.endswith(b"\n"):  # it was cut by us, in the middle
                return
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                event[name] = value
            elif event:
                frame, mark = checked(event["data"]), event.get("id", "")
                assert event["event"] == frame["type"], event
                assert bool(mark) == (frame["type"] == "sync"), event
                assert not mark or mark.startswith(f"{frame['rev']};"), event
                yield frame, mark
                event = {}

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._answer.close()
        self._socket.close()


LINES: dict[str, type[WebSocketLine] | type[EventLine]] = {"websocket": WebSocketLine, "sse": EventLine}


def connected(server: Server, receive_buffer: int) -> socket.socket:
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(PATIENCE)
    try:
        sock.connect(("127.0.0.1", server.port))
    except OSError:
        sock.close()
        raise
    return sock


def checked(text: str) -> Frame:
    try:
        return validated(text)
    except ValueError as error:
        raise AssertionError(f"no JSON: {text[:200]!r}") from error
