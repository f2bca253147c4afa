"""A server as clients see it through a faulty network."""

from __future__ import annotations

from typing import Any

from devstack.server import Server
from tests.fault_proxy import FaultProxy
from tests.support import eventually


class Behind(FaultProxy):
    """A fault proxy before a server, which knows the worker that a client of the proxy has reached."""

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(server.port, **options)
        self._server = server

    def worker_of(self, port: int) -> int | None:
        """The worker at the other end of the connection that a client made from this local port."""
        ports = [link.server_port for link in self.links if link.client_port == port]
        return eventually(lambda: self._server.worker_of(ports[0])) if ports else None
