"""A forward proxy on 127.0.0.1: tunnels by CONNECT (RFC 9110) to where it alone knows the way, and asks for a login."""

from __future__ import annotations

import base64
import contextlib
import selectors
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class ForwardProxy:
    """`ways` are host:port -> a port of this machine; anything else is refused. `asked` is what it was asked for."""

    port: int
    login: str
    ways: dict[str, int]
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.login}@127.0.0.1:{self.port}"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    state: ForwardProxy


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        state = self.server.state
        method, where, _ = self.rfile.readline().decode("latin-1").split()
        lines = iter(lambda: self.rfile.readline().decode("latin-1").strip(), "")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        state.asked.append(f"{method} {where}")
        if headers.get("proxy-authorization") != f"Basic {base64.b64encode(state.login.encode()).decode()}":
            self._refuse("407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=proxy")
        elif method != "CONNECT" or where not in state.ways:
            self._refuse("403 Forbidden")
        else:
            with socket.create_connection(("127.0.0.1", state.ways[where])) as origin:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                _tunnel(self.connection, origin)

    def _refuse(self, status: str) -> None:
        self.wfile.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())


def _tunnel(one: socket.socket, other: socket.socket) -> None:
    """Until either side ends."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select():
                source, target = key.fileobj, key.data
                assert isinstance(source, socket.socket)
                try:
                    piece = source.recv(65536)
                    target.sendall(piece)
                except OSError:
                    return
                if not piece:
                    return


@contextlib.contextmanager
def forward_proxy(ways: dict[str, int]) -> Iterator[ForwardProxy]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.state = ForwardProxy(server.server_address[1], "proxy-user:proxy-pass", ways)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.state
        finally:
            server.shutdown()
            thread.join()
