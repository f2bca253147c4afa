"""Measures how soon a pushed commit reaches clients of every kind on every worker, over real connections."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, cast

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from devstack import watch
from devstack.server import Server

_ATTEMPTS = 100  # connections made until every worker has had one
_PAUSE = 0.02  # seconds between two looks


class Undelivered(RuntimeError):
    """No worker took the connection, or nothing arrived in time."""


class Client(ABC):
    """One client that waits for a configuration in which `announcement` is `wanted`. `arrived` is when (monotonic)."""

    def __init__(self, server: Server, topic: str, token: str) -> None:
        self.server = server
        self.topic = topic
        self.token = token
        self.wanted = ""
        self.arrived: float | None = None
        self._ready = threading.Event()
        self._done = threading.Event()
        self.connect()
        self.worker = self._worker()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @abstractmethod
    def connect(self) -> None:
        """Make the connection, and ask for the configuration."""

    @abstractmethod
    def documents(self) -> Iterator[Mapping[str, Any]]:
        """Each configuration that arrives; `self.watching()` is called once the next one will be a change."""

    @property
    @abstractmethod
    def local_port(self) -> int: ...

    @abstractmethod
    def close(self) -> None: ...

    def listen(self, wanted: str) -> None:
        """Wait for `wanted` from now on; returns when the server holds the subscription. Raises Undelivered."""
        self.wanted = wanted
        self._thread.start()
        if not self._ready.wait(30):
            raise Undelivered(f"{type(self).__name__}: the server did not take the subscription")

    def wait(self, until: float) -> float | None:
        """When it arrived, or None if not by the monotonic time `until`."""
        self._done.wait(max(0.0, until - time.monotonic()))
        return self.arrived

    def watching(self) -> None:
        self._ready.set()

    def _run(self) -> None:
        try:
            for document in self.documents():
                if document.get("announcement") == self.wanted:
                    self.arrived = time.monotonic()
                    return
        except (OSError, ConnectionClosed, http.client.HTTPException, ValueError):
            return  # closed, by us or by the server: then nothing has arrived
        finally:
            self._done.set()

    def _worker(self) -> int:
        deadline = time.monotonic() + 30
        while (worker := self.server.worker_of(self.local_port)) is None:
            if time.monotonic() > deadline:
                raise Undelivered(f"{type(self).__name__}: no worker took the connection")
            time.sleep(_PAUSE)
        return worker


class WebSocket(Client):
    def connect(self) -> None:
        self._connection: ClientConnection = watch.opened(
            self.server.url.replace("http:", "ws:") + "/v1/stream", self.token
        )

    @property
    def local_port(self) -> int:
        return int(self._connection.local_address[1])

    def documents(self) -> Iterator[Mapping[str, Any]]:
        for frame in watch.frames(self._connection, self.topic):
            if frame["type"] == "change" and frame["op"] == "put":
                yield frame["doc"]
            elif frame["type"] == "sync":
                self.watching()

    def close(self) -> None:
        self._connection.close()


class _Http(Client):
    """A client over one plain HTTP connection."""

    def open(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        self._connection.connect()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> None:
        self._connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}", **(headers or {})})

    @property
    def local_port(self) -> int:
        return int(self._connection.sock.getsockname()[1])

    def close(self) -> None:
        sock = cast("socket.socket | None", self._connection.sock)
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)  # wakes whoever reads from it
        self._connection.close()


class ServerSentEvents(_Http):
    def connect(self) -> None:
        self.open()
        self.get(f"/v1/events?topic={self.topic}")

    def documents(self) -> Iterator[Mapping[str, Any]]:
        response = self._connection.getresponse()
        while line := response.readline():
            if not line.startswith(b"data: "):
                continue
            frame = json.loads(line.removeprefix(b"data: "))
            if frame["type"] == "change" and frame["op"] == "put":
                yield frame["doc"]
            elif frame["type"] == "sync":
                self.watching()


class LongPoll(_Http):
    def connect(self) -> None:
        """Read once: a connection that is kept alive stays with its worker."""
        self.open()
        self.get(f"/v1/config/{self.topic}")
        response = self._connection.getresponse()
        response.read()
        self._etag = response.headers["ETag"]

    def documents(self) -> Iterator[Mapping[str, Any]]:
        self.get(f"/v1/config/{self.topic}?wait=30", {"If-None-Match": self._etag})
        self.watching()
        yield json.loads(self._connection.getresponse().read())["config"]


KINDS: Sequence[type[Client]] = (WebSocket, ServerSentEvents, LongPoll)


def on_every_worker(kind: type[Client], server: Server, topic: str, token: str) -> list[Client]:
    """One client per worker; connections that land where there is one already are closed. Raises Undelivered."""
    found: dict[int, Client] = {}
    workers = set(server.workers)
    for _ in range(_ATTEMPTS):
        client = kind(server, topic, token)
        if client.worker in found:
            client.close()
        found.setdefault(client.worker, client)
        if set(found) >= workers:
            return list(found.values())
    raise Undelivered(f"{kind.__name__}: {_ATTEMPTS} connections reached {len(found)} of {len(workers)} workers")


def measure(
    server: Server, topic: str, token: str, *, change: Callable[[str], None], refresh: Callable[[], None]
) -> dict[str, float | None]:
    """Seconds from asking for the refresh to the arrival, per kind of client and worker; None after ten of them.

    `change(text)` pushes a commit in which `announcement` is the text; `refresh()` tells the server.
    """
    wanted = f"Measured {time.time_ns()}"
    with ExitStack() as closing:
        clients = [client for kind in KINDS for client in on_every_worker(kind, server, topic, token)]
        for client in clients:
            closing.callback(client.close)
            client.listen(wanted)
        change(wanted)
        asked = time.monotonic()
        refresh()
        times = [client.wait(asked + 10) for client in clients]
    names = [f"{type(client).__name__} on worker {client.worker}" for client in clients]
    return {name: None if at is None else max(0.0, at - asked) for name, at in zip(names, times, strict=True)}
