"""Requests over raw sockets from a process of its own: as fast as they are answered, or at a constant rate.

At a constant rate (an open loop) a request has a moment at which it is due, and its wait begins then: who is not
answered keeps nobody else from asking, as it is with clients that know nothing of each other.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from bench.process import pin
from devstack.server import ROOT

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length: "
#: What has no answer so long after the last request was due is lost, in seconds.
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """`rate` is in requests a second; None: over each connection the next as soon as one is answered."""

    port: int
    requests: Sequence[str]
    seconds: float
    rate: float | None = None
    connections: int = 64


@dataclass(frozen=True, slots=True)
class Told:
    """Of each answer when its request was due, in monotonic seconds, and how long that waited, in seconds."""

    due: Sequence[float]
    waited: Sequence[float]
    statuses: Mapping[str, int]
    seconds: float

    @property
    def rate(self) -> float:
        return len(self.waited) / self.seconds


def start(plan: Plan) -> subprocess.Popen[str]:
    """Begin; the answer is for `finish`."""
    command = [sys.executable, "-m", "bench.requester"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(plan)) + "\n")
    process.stdin.flush()
    return process


def finish(process: subprocess.Popen[str]) -> Told:
    """Wait for the end. Raises RuntimeError when it had none that is worth anything."""
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError("the requests have not all been answered")
    return Told(**json.loads(output))


def run(plan: Plan) -> Told:
    return finish(start(plan))


@dataclass(slots=True, eq=False)
class _Connection:
    sock: socket.socket
    due: float = 0.0
    arrived: bytearray = field(default_factory=bytearray)

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self.arrived.clear()
        self.sock.sendall(request)

    def status(self) -> str | None:
        """Read; the status of the answer once it is whole."""
        data = self.sock.recv(1 << 16)
        if not data:
            raise ConnectionError("the server has closed a connection")
        self.arrived += data
        end = self.arrived.find(_END_OF_HEAD)
        if end < 0:
            return None
        status = self.arrived[9:12].decode()
        _, named, rest = bytes(self.arrived[:end]).lower().partition(_LENGTH)
        length = int(rest.split(b"\r\n", 1)[0]) if named and status != "304" else 0
        return status if len(self.arrived) >= end + len(_END_OF_HEAD) + length else None


def _connect(port: int) -> _Connection:
    sock = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _Connection(sock)


class _Run:
    """Used by the one thread of the process."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = itertools.cycle([text.encode() for text in plan.requests])
        self._idle = deque(_connect(plan.port) for _ in range(plan.connections))
        self._busy: set[_Connection] = set()
        self._due: list[float] = []
        self._waited: list[float] = []
        self._statuses: Counter[str] = Counter()
        self._began = time.monotonic()

    def run(self) -> Told:
        end = self._began + self._plan.seconds
        sent = 0
        while (due := self._due_at(sent)) < end or self._busy:
            now = time.monotonic()
            if self._idle and due <= now and due < end:
                self._send(due)
                sent += 1
            else:
                self._look(due - now if self._idle and due < end else _PATIENCE)
        return Told(self._due, self._waited, dict(self._statuses), time.monotonic() - self._began)

    def _due_at(self, number: int) -> float:
        return self._began + number / self._plan.rate if self._plan.rate else time.monotonic()

    def _send(self, due: float) -> None:
        connection = self._idle.popleft()
        connection.send(next(self._requests), due)
        self._busy.add(connection)

    def _look(self, patience: float) -> None:
        """`select` knows microseconds, where epoll would round to milliseconds."""
        readable, _, _ = select.select(self._busy, (), (), max(patience, 0.0))
        if not readable and patience == _PATIENCE:
            raise TimeoutError(f"{len(self._busy)} requests have no answer after {_PATIENCE:g} s")
        for connection in readable:
            status = connection.status()
            if status is not None:
                self._due.append(connection.due)
                self._waited.append(time.monotonic() - connection.due)
                self._statuses[status] += 1
                self._busy.discard(connection)
                self._idle.append(connection)


if __name__ == "__main__":
    pin(0, (os.cpu_count() or 1) - 1)
    sys.stdout.write(json.dumps(asdict(_Run(Plan(**json.loads(sys.stdin.readline()))).run())))
