"""Owns what a frame is in bytes, and what bytes of the client mean, for each transport. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from app.notify.wire import Frame

#: The largest message that a client may send, in bytes, and how many pieces it may send it in.
MAX_INBOUND = 16 * 1024
MAX_PIECES = 1024


@dataclass(frozen=True, slots=True)
class Closed:
    """The client has ended the stream, or broken its rules: with this close code."""

    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Pinged:
    """The client asked whether anybody is there, or said that it is. It counts as a message."""


class Codec(Protocol):
    """One connection's reading and writing."""

    def encode(self, frame: Frame) -> bytes: ...

    def close(self, code: int, reason: str) -> bytes:
        """What is sent at the end; nothing may follow it."""

    def receive(self, data: bytes) -> tuple[list[str | bytes | Pinged | Closed], bytes]:
        """What the client says with these bytes, in order, and what is to be answered at once."""


class EventStreamCodec:
    """Server-Sent Events (WHATWG HTML, section 9.2): the client only listens; what it sends means nothing."""

    __slots__ = ()

    def encode(self, frame: Frame) -> bytes:
        return frame.sse

    def close(self, code: int, reason: str) -> bytes:
        return b""

    def receive(self, data: bytes) -> tuple[list[str | bytes | Pinged | Closed], bytes]:
        return [], b""


class WebSocketCodec:
    """WebSocket (RFC 6455) after the handshake, without extensions."""

    __slots__ = ("_pieces", "_protocol", "_size")

    def __init__(self) -> None:
        self._protocol = Connection(ConnectionType.SERVER)
        self._pieces: list[str] | list[bytes] = []
        self._size = 0

    def encode(self, frame: Frame) -> bytes:
        return frame.websocket

    def close(self, code: int, reason: str) -> bytes:
        return self._protocol.send(CloseConnection(code, reason or None))

    def receive(self, data: bytes) -> tuple[list[str | bytes | Pinged | Closed], bytes]:
        """Ends with Closed when there is one: what comes after a close frame, or after a fault, means nothing."""
        said: list[str | bytes | Pinged | Closed] = []
        answer = b""
        self._protocol.receive_data(data)
        for event in self._protocol.events():
            if isinstance(event, Ping):
                answer += self._protocol.send(event.response())
                said.append(Pinged())
            elif isinstance(event, Pong):
                said.append(Pinged())
            elif isinstance(event, CloseConnection):
                said.append(Closed(event.code, event.reason or ""))
                return said, answer
            elif isinstance(event, TextMessage | BytesMessage):
                whole = self._whole(event)
                if whole is not None:
                    said.append(whole)
                    if isinstance(whole, Closed):
                        return said, answer
        return said, answer

    def _whole(self, event: Event) -> str | bytes | Closed | None:
        """The message that this piece completes, or Closed when it grows too big."""
        assert isinstance(event, TextMessage | BytesMessage)
        self._size += len(event.data.encode() if isinstance(event, TextMessage) else event.data)
        self._pieces.append(event.data)  # type: ignore[arg-type]  # all pieces of a message are of one kind
        if self._size > MAX_INBOUND or len(self._pieces) > MAX_PIECES:
            return Closed(CloseReason.MESSAGE_TOO_BIG, "a message is too big")
        if not event.message_finished:
            return None
        pieces, self._pieces, self._size = self._pieces, [], 0
        empty: str | bytes = "" if isinstance(event, TextMessage) else b""
        return empty.join(pieces)  # type: ignore[arg-type]
