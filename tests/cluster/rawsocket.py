"""A WebSocket client of bytes: it sends what a library would refuse to send, and hears what comes back."""

from __future__ import annotations

import base64
import os
import socket
import struct
from collections.abc import Mapping
from functools import cached_property
from types import TracebackType
from typing import Self

from wsproto.frame_protocol import Opcode

from tests.cluster.clients import Door, bearer

HANDSHAKE = {
    "Host": "server",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "cfg.v1",
}


def frame(
    payload: bytes, opcode: int = Opcode.TEXT, *, final: bool = True, masked: bool = True, reserved: int = 0
) -> bytes:
    """One frame as a client writes it (RFC 6455, section 5.2); the mask is zeros, which is a mask too.

    `reserved` are the three reserved bits, as a number up to 7.
    """
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    mask_bit = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([mask_bit | len(payload)])
    else:
        head += bytes([mask_bit | 126]) + struct.pack("!H", len(payload))
    return head + (bytes(4) if masked else b"") + payload


class RawSocket:
    """A connection on which the handshake was sent; `status` is what the server answered to it."""

    def __init__(
        self,
        server: Door,
        token: str | None,
        changed: Mapping[str, str | None] | None = None,
        *,
        request: str = "GET /v1/stream HTTP/1.1",
        connected: socket.socket | None = None,
    ) -> None:
        """`changed` headers replace those of a good handshake; None leaves one out. `connected` is a connection that is
        there already."""
        self.socket = connected or socket.create_connection(("127.0.0.1", server.port), timeout=30)
        self._server = server
        key = base64.b64encode(os.urandom(16)).decode()
        headers = {**HANDSHAKE, "Sec-WebSocket-Key": key, **bearer(token), **(changed or {})}
        lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
        self.send("\r\n".join([request, *lines, "", ""]).encode())
        self._buffer = b""
        head = self._until(b"\r\n\r\n").decode()
        self.status = int(head.split(" ", 2)[1])
        self.headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head.splitlines()[1:])
        }

    @cached_property
    def worker(self) -> int | None:
        """Who has it; to be asked while it is open."""
        return self._server.worker_of(self.socket.getsockname()[1])

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> tuple[Opcode, bytes]:
        """The next frame of the server. Raises ConnectionError at the end."""
        first, second = self._exactly(2)
        assert first & 0x80, "the server does not fragment"
        assert not first & 0x70, "no extension was negotiated"
        assert not second & 0x80, "a server does not mask"
        size = second
        if size == 126:
            (size,) = struct.unpack("!H", self._exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._exactly(8))
        return Opcode(first & 0x0F), self._exactly(size)

    def close_code(self) -> int:
        """Read on until the server closes; its code."""
        return self.to_the_end()[1]

    def to_the_end(self) -> tuple[list[tuple[Opcode, bytes]], int]:
        """The frames up to the server's close frame, and its code (1005: it has none)."""
        before: list[tuple[Opcode, bytes]] = []
        while True:
            opcode, payload = self.receive()
            if opcode is Opcode.CLOSE:
                return before, int.from_bytes(payload[:2]) if payload else 1005
            before.append((opcode, payload))

    def is_over(self) -> bool:
        """Whether the server ends the connection, in time and without another byte."""
        try:
            return not self._buffer and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def reset(self) -> None:
        """Go without a word (RST), as a machine that is switched off and on."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._more()
        found, _, self._buffer = self._buffer.partition(mark)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server has closed the connection")
        self._buffer += data
