"""ConfigServer: the whole server as a library, for tests and small deployments. Real parts, Werkzeug's threaded server.

server = ConfigServer(repo_url=..., vault_addr=..., metrics_manager=...)
await server.start()
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Generator
from typing import Any

from prometheus_client import CollectorRegistry
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from app import create_app
from app.services import Services
from app.settings import Settings

#: How long `await server.start()` waits for a first configuration, in seconds.
PATIENCE = 30.0


class _QuietHandler(WSGIRequestHandler):
    """The application writes its own line per request."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        return None


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
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def services(self) -> Services:
        services: Services = self.app.extensions["config_server"]
        return services

    @property
    def url(self) -> str:
        """Where it listens; the port is the real one also when `bind` said 0."""
        if self._server is None:
            raise RuntimeError("the server is not started")
        return f"http://{self._server.host}:{self._server.port}"

    def start(self) -> Started:
        """Listen and start the threads at once. The result may be awaited until there is a configuration to serve.

        Raises OSError when the address is taken.
        """
        if self._server is None:
            host, _, port = self.settings.bind.rpartition(":")
            self._server = make_server(host, int(port), self.app, threaded=True, request_handler=_QuietHandler)
            self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
            self.services.start()
            self._thread.start()
        return Started(self)

    def wait_ready(self, timeout: float = PATIENCE) -> bool:
        """Whether there is a configuration to serve, waiting for the first one up to `timeout` seconds."""
        return self.services.engine.wait_ready(timeout)

    def close(self) -> None:
        """Say goodbye to streams, stop listening, end the threads."""
        self.services.close()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def __enter__(self) -> ConfigServer:
        self.start().wait()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    async def __aenter__(self) -> ConfigServer:
        return await self.start()

    async def __aexit__(self, *_exc: object) -> None:
        await asyncio.to_thread(self.close)
