"""An HTTP server that stands where Vault should be and misbehaves as told; it remembers what it was sent."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias

TOKEN = "token-of-the-front"
LOGIN = {"auth": {"client_token": TOKEN, "lease_duration": 3600, "renewable": True}}

#: (status, headers, body)
Reply: TypeAlias = tuple[int, dict[str, str], bytes]


def json_reply(status: int, body: object) -> Reply:
    return status, {"Content-Type": "application/json"}, json.dumps(body).encode()


@dataclass
class Front:
    """`reply` answers reads and whatever else, `login` the logins; `seen` holds (method, path, token, body)."""

    address: str
    login: Reply = field(default_factory=lambda: json_reply(200, LOGIN))
    reply: Reply | Callable[[BaseHTTPRequestHandler], None] = (200, {}, b"")
    seen: list[tuple[str, str, str | None, bytes]] = field(default_factory=list)


@contextlib.contextmanager
def running_front() -> Iterator[Front]:
    front = Front("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet, or Nagle costs 40 ms each

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            front.seen.append((self.command, self.path, self.headers.get("X-Vault-Token"), body))
            reply = front.login if self.path.endswith("/login") else front.reply
            if callable(reply):
                self.close_connection = True
                with contextlib.suppress(ConnectionError):
                    reply(self)
                return
            status, headers, content = reply
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - the names that http.server calls

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the console."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    front.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
