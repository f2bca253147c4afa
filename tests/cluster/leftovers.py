"""What clients that are gone may have left in a server, and what it may have said of them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import psutil

from devstack.server import Server
from tests.cluster.clients import samples
from tests.cluster.stack import GREENLETS
from tests.support import eventually

#: A few more may be there for good: the blob reader's pipes, another connection to Valkey.
_FOR_GOOD = 10


def quiet(server: Server) -> None:
    """Every line is JSON and none is about something that went wrong."""
    loud = [line for line in server.log_lines() if line["log.level"] in ("warning", "error", "critical")]
    assert loud == []


def streams_open(server: Server) -> float:
    return sum(value for name, value in samples(server).items() if name.startswith("config_server_streams_open"))


def greenlets(server: Server) -> dict[int, int]:
    """The living greenlets of each worker (of a server that is `timed`)."""
    found: dict[int, int] = {}
    for _ in range(60):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(f"GET {GREENLETS} HTTP/1.0\r\n\r\n".encode())
            worker = server.worker_of(client.getsockname()[1])
            body = b"".join(iter(lambda: client.recv(4096), b"")).rpartition(b"\r\n\r\n")[2]
        if worker is not None:
            found[worker] = int(body)
        if len(found) == len(server.workers):
            return found
    raise AssertionError("some worker took no connection")


def descriptors(server: Server) -> dict[int, int]:
    return {worker: psutil.Process(worker).num_fds() for worker in server.workers}


@contextlib.contextmanager
def nothing_left(server: Server, *, timeout: float = 5) -> Iterator[None]:
    """No stream is open now, and none, nor a descriptor or greenlet, is left at the end; the workers live on."""
    eventually(lambda: streams_open(server) == 0)
    before, running = descriptors(server), greenlets(server)
    yield
    eventually(lambda: streams_open(server) == 0, timeout=timeout)
    eventually(lambda: all(descriptors(server)[worker] <= number + _FOR_GOOD for worker, number in before.items()))
    eventually(lambda: all(greenlets(server)[worker] <= number + _FOR_GOOD for worker, number in running.items()))
    assert set(server.workers) == set(before)
