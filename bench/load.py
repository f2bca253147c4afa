"""The clients: thousands of raw sockets in one process, which notes when a change has fully arrived at each."""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import resource
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from types import TracebackType
from typing import Self, cast

from bench.wire import CUTS, END_OF_HEAD, REPLIES, Cut, Opening

#: Handshakes under way at a time. More would measure the listen queue.
WINDOW = 64
#: Where connections come from, so that ports do not run out.
SOURCES = tuple(f"127.0.0.{number}" for number in range(2, 10))
_GOOD = (b"HTTP/1.1 101", b"HTTP/1.1 200")


@dataclass(frozen=True, slots=True)
class Failure:
    """What the clients' process says instead of an answer."""

    reason: str


@dataclass(frozen=True, slots=True)
class Arrivals:
    """`times`: monotonic seconds at which the change was whole, one per connection, sorted.

    `size` is how many bytes one connection got in this round; `lost` how many ended before.
    """

    times: Sequence[float]
    size: int
    lost: int


class Load:
    """The clients' process, as its owner sees it. A context manager."""

    def __init__(self, port: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(theirs, port), daemon=True)
        self._process.start()
        theirs.close()

    def open(self, openings: Sequence[Opening], *, timeout: float) -> float:
        """Open them all beside those that are open; the seconds until each is ready."""
        return cast("float", self._ask(("open", list(openings), timeout), timeout + 10))

    def expect(self, marker: str) -> None:
        """From now on, note for each connection when the first message with this text has fully arrived."""
        self._ask(("expect", marker.encode()), 10)

    def arrivals(self, *, timeout: float, count: int | None = None) -> Arrivals:
        """Wait until each connection has it (or `count` of them have), at most `timeout` seconds."""
        answer = self._ask(("arrivals", timeout, count), timeout + 10)
        assert isinstance(answer, Arrivals)
        return answer

    def drop(self, *, abruptly: bool = False) -> None:
        """Close every connection; `abruptly` with RST."""
        self._ask(("drop", abruptly), 30)

    def close(self) -> None:
        self._pipe.close()  # it ends when nobody is at the other end
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, command: tuple[object, ...], timeout: float) -> object:
        self._pipe.send(command)
        if not self._pipe.poll(timeout):
            raise TimeoutError(f"the load client did not {command[0]} within {timeout:g} s")
        answer = self._pipe.recv()
        if not isinstance(answer, Failure):
            return answer
        raise RuntimeError(answer.reason)


@dataclass(slots=True)
class _Stream:
    sock: socket.socket
    opening: Opening
    cut: Cut
    in_head: bool
    rest: bytes = b""
    ready: bool = False
    arrived: float = 0.0
    size: int = 0
    waiting: bool = field(default=False)


class _Clients:
    """Used by the one thread of the clients' process."""

    def __init__(self, pipe: Pipe, port: int) -> None:
        self._pipe = pipe
        self._address = ("127.0.0.1", port)
        self._poll = select.epoll()
        self._poll.register(pipe.fileno(), select.EPOLLIN)
        self._streams: dict[int, _Stream] = {}
        self._sources = itertools.cycle(SOURCES)
        self._marker = b""
        self._missing = 0
        self._lost = 0
        self._refused = ""

    def run(self) -> None:
        while True:
            if self._look(1.0):
                name, *arguments = self._pipe.recv()
                try:
                    answer = getattr(self, f"do_{name}")(*arguments)
                except (OSError, RuntimeError) as failure:  # TimeoutError is an OSError
                    answer = Failure(f"{type(failure).__name__}: {failure}")
                self._pipe.send(answer)

    def do_open(self, openings: list[Opening], timeout: float) -> float:
        began = time.monotonic()
        to_do = deque(openings)
        under_way: list[_Stream] = []
        while to_do or under_way:
            under_way = [stream for stream in under_way if not stream.ready]
            while to_do and len(under_way) < WINDOW:
                under_way.append(self._connect(to_do.popleft()))
            self._look(0.05)
            left = len(to_do) + len(under_way)
            if self._refused or self._lost:
                raise RuntimeError(f"{left} of {len(openings)} to go, {self._lost} lost; refused: {self._refused}")
            if time.monotonic() - began > timeout:
                raise TimeoutError(f"{left} of {len(openings)} are not open after {timeout:g} s")
        return time.monotonic() - began

    def do_expect(self, marker: bytes) -> bool:
        self._marker = marker
        self._missing = len(self._streams)
        for stream in self._streams.values():
            stream.waiting, stream.arrived, stream.size = True, 0.0, 0
        return True

    def do_arrivals(self, timeout: float, count: int | None) -> Arrivals:
        until = time.monotonic() + timeout
        left = 0 if count is None else len(self._streams) - count
        while self._missing > left and time.monotonic() < until:
            self._look(0.05)
        times = sorted(stream.arrived for stream in self._streams.values() if stream.arrived)
        sample = next(iter(self._streams.values()), None)
        return Arrivals(times, sample.size if sample else 0, self._lost + max(self._missing - left, 0))

    def do_drop(self, abruptly: bool) -> bool:
        for descriptor, stream in list(self._streams.items()):
            self._poll.unregister(descriptor)
            if abruptly:
                stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.sock.close()
        self._streams.clear()
        return True

    def _connect(self, opening: Opening) -> _Stream:
        sock = socket.socket()
        sock.bind((next(self._sources), 0))
        sock.connect(self._address)  # on loopback this ends at once: the kernel's queue takes it
        if opening.request:
            sock.sendall(opening.request)
        sock.setblocking(False)
        stream = _Stream(sock, opening, CUTS[opening.kind], in_head=bool(opening.request))
        self._streams[sock.fileno()] = stream
        self._poll.register(sock.fileno(), select.EPOLLIN)
        return stream

    def _look(self, patience: float) -> bool:
        """Read from whoever has something. True when a command is there."""
        commanded = False
        for descriptor, _ in self._poll.poll(patience):
            stream = self._streams.get(descriptor)
            if stream is None:
                commanded = True
            else:
                self._read(descriptor, stream)
        return commanded

    def _read(self, descriptor: int, stream: _Stream) -> None:
        try:
            data = stream.sock.recv(1 << 18)
        except OSError as failure:
            if failure.errno == errno.EAGAIN:
                return
            data = b""
        if not data:
            self._poll.unregister(descriptor)
            self._streams.pop(descriptor).sock.close()
            self._lost += 1
            return
        stream.size += len(data)
        messages, stream.rest = self._cut(stream, stream.rest + data if stream.rest else data)
        if stream.waiting and any(self._marker in message for message in messages):
            stream.arrived = time.monotonic()
            stream.waiting = False
            self._missing -= 1
        reply = REPLIES.get(stream.opening.kind)
        if reply is not None:
            stream.sock.sendall(b"".join(map(reply, messages)))
        if not stream.ready and messages:
            stream.ready = any(stream.opening.ready in message for message in messages)

    def _cut(self, stream: _Stream, data: bytes) -> tuple[list[bytes], bytes]:
        if not stream.in_head:
            return stream.cut(data)
        head, end, body = data.partition(END_OF_HEAD)
        if not end:
            return [], data
        if not head.startswith(_GOOD):
            self._refused = self._refused or data[:400].decode("latin-1")
            return [], b""
        stream.in_head = False
        if stream.opening.subscribe:
            stream.sock.sendall(stream.opening.subscribe)
        return stream.cut(body)


def _main(pipe: Pipe, port: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        _Clients(pipe, port).run()
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return  # the owner has gone
