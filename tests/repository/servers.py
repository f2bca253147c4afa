"""Remotes that misbehave, or ask for a password: sockets of this machine, in threads."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """A port where connections are taken and never answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """A port where connections are refused, and that nobody else gets meanwhile."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        yield unheard.getsockname()[1]


@dataclass
class Asked:
    """What an HTTP server was asked: the passwords, one for each request that brought a login."""

    port: int
    logins: list[str] = field(default_factory=list)


@contextlib.contextmanager
def http_server(*, redirect_to: int | None = None) -> Iterator[Asked]:
    """A server that asks for a login and then refuses every one; or one that redirects to another port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if login := self.headers.get("Authorization"):
                asked.logins.append(base64.b64decode(login.removeprefix("Basic ")).decode())
            if redirect_to is not None:
                self.send_response(302)
                self.send_header("Location", f"http://127.0.0.1:{redirect_to}{self.path}")
            else:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    asked = Asked(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
