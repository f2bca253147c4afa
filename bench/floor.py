"""The floor: what plain gevent sockets take for the same bytes to the same number of connections."""

from __future__ import annotations

import multiprocessing
import resource
import time
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from types import TracebackType
from typing import Self

from bench.wire import text_frame

_HELLO = text_frame(b'{"type":"sync"}')


class Floor:
    """A server of a few lines in a process of its own. A context manager."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.port = int(self._answer(20))

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def send(self, marker: str, size: int) -> float:
        """`size` bytes with the marker in them, to every connection; when it began (monotonic seconds)."""
        payload = marker.encode().ljust(max(size - 4, len(marker)), b".")
        self._pipe.send(text_frame(payload))
        return self._answer(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()

    def _answer(self, timeout: float) -> float:
        if not self._pipe.poll(timeout):
            raise TimeoutError(f"the floor did not answer within {timeout:g} s")
        return float(self._pipe.recv())


def _main(pipe: Pipe) -> None:
    import gevent
    from gevent import socket
    from gevent.server import StreamServer

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    clients: set[socket.socket] = set()

    def serve(client: socket.socket, _address: object) -> None:
        """A greenlet per connection, as a worker has: it waits for its client to go."""
        client.sendall(_HELLO)
        clients.add(client)
        with suppress(ConnectionError):  # a client that ends with RST
            while client.recv(4096):
                pass
        clients.discard(client)

    server = StreamServer(("127.0.0.1", 0), serve, backlog=2048)
    server.start()
    pipe.send(server.server_port)
    try:
        while True:
            while not pipe.poll():
                gevent.sleep(0.005)
            data = pipe.recv()
            began = time.monotonic()
            for client in list(clients):
                client.sendall(data)
            pipe.send(began)
    except (EOFError, OSError, KeyboardInterrupt):
        return  # the owner has gone
