"""ConfigServer: the whole server as a library, for tests and small deployments. Real parts, Werkzeug's threaded server.

server = ConfigServer(repo_url=..., vault_addr=..., metrics_manager=...)
await server.start()
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from flask import Flask
from prometheus_client import CollectorRegistry
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from app import create_app
from app.services import Services
from app.settings import Settings

#: How long `await server.start()` waits for a first configuration, in seconds.
PATIENCE = 30.0
#: How long `close` waits for streams to say goodbye, and again for answers under way, in seconds.
GOODBYE = 3.0
_LOOK = 0.05


class _QuietHandler(WSGIRequestHandler):
    """The application writes its own line per request."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        return None


class _Server(ThreadedWSGIServer):
    """Werkzeug's threaded server, which can also end the threads that wait on open connections."""

    def __init__(self, bind: str, app: Flask) -> None:
        host, _, port = bind.rpartition(":")
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # Listening here: Werkzeug would print to the console and end the process if the address is taken.
        with socket.create_server((host, int(port)), family=family, backlog=128) as listener:
            super().__init__(host, int(port), app, _QuietHandler, fd=listener.fileno())
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()  # guards _connections

    def process_request(self, request: Any, client_address: Any) -> None:
        arguments = (request, client_address)
        thread = threading.Thread(target=self.process_request_thread, args=arguments, name="http-request", daemon=True)
        with self._lock:
            self._connections[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                del self._connections[threading.current_thread()]

    def end_connections(self, timeout: float) -> None:
        """Nobody is listened to any more; answers under way have `timeout` seconds, then they are cut."""
        for how in (socket.SHUT_RD, socket.SHUT_RDWR):
            with self._lock:
                connections = dict(self._connections)
            for connection in connections.values():
                with contextlib.suppress(OSError):  # it has just ended
                    connection.shutdown(how)
            deadline = time.monotonic() + timeout
            for thread in connections:
                thread.join(max(0.0, deadline - time.monotonic()))


class Started(Awaitable["ConfigServer"]):
    """What `start` returns: await it, call `wait`, or leave it alone; the server runs in any case."""

    def __init__(self, server: ConfigServer) -> None:
        self._server = server

    def wait(self, timeout: float = PATIENCE) -> bool:
        """Whether there is a configuration to serve, waiting for the first one up to `timeout` seconds."""
        return self._server.wait_ready(timeout)

    def __await__(self) -> Generator[Any, None, ConfigServer]:
        yield from asyncio.to_thread(self.wait).__await__()
        return self._server


class ConfigServer:
    """One server in this process: one worker, its own threads, no Redis needed.

    What the call does not give comes from the environment (CONFIG_SERVER_*). `metrics_manager` is the Prometheus
    registry to register with; without one the server has its own. `settings` are further settings by their lower-case
    names (`data_dir=Path(...)`, `bind="127.0.0.1:0"`). Raises SettingsError listing every problem.
    """

    def __init__(
        self,
        repo_url: str | None = None,
        vault_addr: str | None = None,
        metrics_manager: CollectorRegistry | None = None,
        **settings: Any,
    ) -> None:
        given = {"repo_url": repo_url, "vault_addr": vault_addr, **settings}
        self.settings = Settings.from_env(**{name: value for name, value in given.items() if value is not None})
        self.app = create_app(self.settings, metrics_manager)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def services(self) -> Services:
        services: Services = self.app.extensions["config_server"]
        return services

    @property
    def url(self) -> str:
        """Where it listens; the port is the real one also when `bind` said 0."""
        if self._server is None:
            raise RuntimeError("the server is not started")
        host = self._server.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._server.port}"

    def start(self) -> Started:
        """Listen and start the threads at once. The result may be awaited until there is a configuration to serve.

        A second call changes nothing. When it fails the server is closed, and nothing of it goes on.
        Raises OSError when the address is taken, AuditUnavailable, RuntimeError after `close`.
        """
        if self._closed:
            raise RuntimeError("a server that was closed is not started again; make another")
        if self._thread is None:
            try:
                self._server = _Server(self.settings.bind, self.app)
                self.services.start()
            except BaseException:
                self.close()
                raise
            self._thread = threading.Thread(target=self._server.serve_forever, args=(_LOOK,), name="http", daemon=True)
            self._thread.start()
        return Started(self)

    def wait_ready(self, timeout: float = PATIENCE) -> bool:
        """Whether there is a configuration to serve, waiting for the first one up to `timeout` seconds."""
        return self.services.engine.wait_ready(timeout)

    def close(self) -> None:
        """Say goodbye to streams, stop listening, end the threads. May be called twice, and before `start`."""
        self._closed = True
        self.services.drain(at_once=True)
        server, self._server = self._server, None
        if server is not None:
            if self._thread is not None:
                server.shutdown()
                self._thread.join()
            _wait(lambda: len(self.services.notifier) == 0, GOODBYE)
            server.end_connections(GOODBYE)
            server.server_close()
        self.services.close()

    def __enter__(self) -> ConfigServer:
        self.start().wait()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    async def __aenter__(self) -> ConfigServer:
        return await self.start()

    async def __aexit__(self, *_exc: object) -> None:
        await asyncio.to_thread(self.close)


def _wait(done: Callable[[], bool], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not done() and time.monotonic() < deadline:
        time.sleep(_LOOK)
