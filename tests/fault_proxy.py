"""A TCP proxy on 127.0.0.1 whose faults are set per direction while it runs, to stand between a client and a server."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import select
import socket
import struct
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

_SIZE = 65536
_ATTACH_FILTER, _DETACH_FILTER = 26, 27  # asm-generic/socket.h; Python has no names for them


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint))


#: A socket filter of one instruction, `ret 0`: the kernel drops every packet before TCP sees it, so none is answered.
_DROP_ALL = _Instruction(0x06, 0, 0, 0)


class Direction:
    """What befalls the bytes that go one way. May be changed at any time and from any thread.

    Before each piece pass `delay` seconds, and up to `jitter` more at random. A piece has at most `piece` bytes, or
    with `torn` a random number of them up to that. `passed` counts the bytes that have been handed on, `pieces` in how
    many. `altered`: where a piece holds one of these texts, it gets the other, which is as long.
    """

    def __init__(self, gate: threading.Condition, seed: int) -> None:
        self.delay = self.jitter = 0.0
        self.piece, self.torn = _SIZE, False
        self.passed = self.pieces = 0
        self.altered: Mapping[bytes, bytes] = {}
        self._gate = gate  # guards what follows, `passed` and `pieces`
        self._random = random.Random(seed)
        self._stalled = False
        self._cut: tuple[int, bool] | None = None

    def stall(self) -> None:
        """Read nothing more and hand nothing on, until released."""
        self._stalled = True

    def release(self) -> None:
        with self._gate:
            self._stalled = False
            self._gate.notify_all()

    def cut_after(self, count: int, *, reset: bool = True) -> None:
        """Hand on `count` (at least one) bytes more and then end the link that the last one went over; once.

        By RST, or with `reset` False by FIN to both sides, which loses nothing on its way.
        """
        with self._gate:
            self._cut = (count, reset)

    @property
    def will_cut(self) -> bool:
        return self._cut is not None

    def _wait(self, link: Link) -> None:
        """While it is stalled."""
        with self._gate:
            self._gate.wait_for(lambda: link.over or not (self._stalled or link.unplugged))

    def _pause(self, link: Link) -> int:
        """The time that the next piece takes; the size of it."""
        with self._gate:
            seconds = self.delay + self._random.uniform(0, self.jitter)
            if seconds:
                self._gate.wait_for(lambda: link.over, seconds)
            size = self._random.randint(1, self.piece) if self.torn else self.piece
            return min(size, self._cut[0]) if self._cut else size

    def _count(self, size: int) -> None:
        """Before it is handed on: who has received it may ask at once how much it was."""
        with self._gate:
            self.passed += size
            self.pieces += 1

    def _cut_if_due(self, size: int, link: Link) -> None:
        with self._gate:
            if self._cut is not None:
                left, reset = self._cut[0] - size, self._cut[1]
                self._cut = (left, reset) if left > 0 else None
                if left <= 0:
                    link.cut(reset=reset)


class Link:
    """One connection of a client, and the one to the server that was made for it."""

    def __init__(self, client: socket.socket, server: socket.socket, gate: threading.Condition) -> None:
        self.client, self.server = client, server
        self.client_port, self.server_port = client.getpeername()[1], server.getsockname()[1]  # both ephemeral
        self.over = self.unplugged = False
        self._gate = gate  # guards the two above, and the descriptor of the alarm
        self._alarm = os.eventfd(0)  # readable when the link is over, for whoever waits for a socket
        self._pumps = 2
        self._finished: set[socket.socket] = set()
        for side in (client, server):
            side.setblocking(False)
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def ended(self) -> bool:
        """Whether its sockets are closed."""
        return not self._pumps

    def start(self, up: Direction, down: Direction) -> None:
        for source, sink, way in ((self.client, self.server, up), (self.server, self.client, down)):
            threading.Thread(target=self._pump, args=(source, sink, way), name="pump", daemon=True).start()

    def cut(self, *, reset: bool = True) -> None:
        """End it now, on both sides: by RST, or by FIN."""
        with self._gate:
            if not self.over:
                self.over = True
                for side in (self.client, self.server) if reset else ():
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.eventfd_write(self._alarm, 1)
                self._gate.notify_all()

    def half_close(self, *, up: bool) -> None:
        """End one direction by FIN; what still comes that way is read no more. The other one goes on."""
        sink = self.server if up else self.client
        with self._gate:
            if self._pumps:
                self._finished.add(sink)
                sink.shutdown(socket.SHUT_WR)

    def unplug(self) -> None:
        """From now on neither side's packets are received, or answered, and nothing is handed on."""
        with self._gate:
            self.unplugged = True
            for side in (self.client, self.server) if self._pumps else ():
                _deafen(side)

    def plug(self) -> None:
        """What TCP has not given up meanwhile goes on."""
        with self._gate:
            self.unplugged = False
            for side in (self.client, self.server) if self._pumps else ():
                side.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)
            self._gate.notify_all()

    def _pump(self, source: socket.socket, sink: socket.socket, way: Direction) -> None:
        try:
            while data := self._read(source, way):
                while data and not self.over:
                    piece, data = self._next(data, way)
                    way._count(len(piece))
                    self._write(sink, piece)
                    way._cut_if_due(len(piece), self)
            if not self.over:
                sink.shutdown(socket.SHUT_WR)
        except OSError:  # one side is gone, and so is the other then
            if sink not in self._finished:
                self.cut()
        finally:
            self._ended()

    def _read(self, source: socket.socket, way: Direction) -> bytes:
        while not self.over:
            self._ready(source, select.POLLIN)
            way._wait(self)
            with contextlib.suppress(BlockingIOError):
                return source.recv(_SIZE) if not self.over else b""
        return b""

    def _next(self, data: bytes, way: Direction) -> tuple[bytes, bytes]:
        way._wait(self)
        size = way._pause(self)
        piece = data[:size]
        for text, other in way.altered.items():
            piece = piece.replace(text, other)
        return piece, data[size:]

    def _write(self, sink: socket.socket, data: bytes) -> None:
        while data and not self.over:
            self._ready(sink, select.POLLOUT)
            with contextlib.suppress(BlockingIOError):
                data = data[sink.send(data) :] if not self.over else b""

    def _ready(self, sock: socket.socket, event: int) -> None:
        waiting = select.poll()
        waiting.register(sock, event)
        waiting.register(self._alarm, select.POLLIN)
        waiting.poll()

    def _ended(self) -> None:
        """The second pump to end takes the sockets with it."""
        with self._gate:
            self._pumps -= 1
            if not self._pumps:
                self.over = True
                for side in (self.client, self.server):
                    side.close()
                os.close(self._alarm)
            self._gate.notify_all()


class FaultProxy:
    """Listens on `port` and hands on to `target`, a port of 127.0.0.1. `up` is from client to server, `down` back.

    The faults of the two directions befall every link; without any it hands on what comes. `refusing` resets new
    connections at once. The same `seed` draws the same delays and pieces.
    """

    def __init__(self, target: int, *, seed: int = 0, buffer: int = 0) -> None:
        """`buffer` (bytes) keeps the kernel from holding much on the way, so that who stalls is noticed soon."""
        self._target, self._buffer = target, buffer
        self._gate = threading.Condition()  # guards `_links`, and is where the pumps wait
        self._links: list[Link] = []
        self.up, self.down = Direction(self._gate, seed), Direction(self._gate, seed + 1)
        self.refusing = False
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def links(self) -> list[Link]:
        """Those that are open, the oldest first."""
        with self._gate:
            self._links = [link for link in self._links if not link.over]
            return list(self._links)

    def cut(self, *, reset: bool = True) -> None:
        """End every link."""
        for link in self.links:
            link.cut(reset=reset)

    def half_close(self, *, up: bool) -> None:
        """End one direction of every link by FIN."""
        for link in self.links:
            link.half_close(up=up)

    def unplug(self) -> None:
        """As if the cable were pulled: no packet gets through, nobody is told, and no connection is made."""
        _deafen(self._listener)
        for link in self.links:
            link.unplug()

    def plug(self) -> None:
        self._listener.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)
        for link in self.links:
            link.plug()

    def close(self) -> None:
        self._closing = True
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._thread.join()
        self._listener.close()
        links = self.links
        self.cut()
        with self._gate:
            self._gate.wait_for(lambda: all(link.ended for link in links), 30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                if self._closing:
                    return
            else:
                self._join(client)

    def _join(self, client: socket.socket) -> None:
        server = socket.socket()
        if self._buffer:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        try:
            if self.refusing:
                raise ConnectionRefusedError
            server.connect(("127.0.0.1", self._target))
            link = Link(client, server, self._gate)
        except OSError:  # nobody listens there, or the client has gone already
            for side in (client, server):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                side.close()
            return
        with self._gate:
            self._links.append(link)
        link.start(self.up, self.down)


def _deafen(sock: socket.socket) -> None:
    program = struct.pack("@HP", 1, ctypes.addressof(_DROP_ALL))
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
