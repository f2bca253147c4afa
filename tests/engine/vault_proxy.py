"""Stands between the server and a real OpenBao: counts what is asked, can go away and come back, or answer itself."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from devstack.bao import Bao


class VaultProxy:
    """`asked` holds the path of every request that arrived; while `away` is set, callers find the line cut.

    With `instead` (status, headers, body) that is what they are told, and OpenBao is not asked. `on_request` is called
    before OpenBao is asked, and cuts the line by raising OSError; `on_answer` before its answer is passed on.
    """

    def __init__(self, vault: Bao) -> None:
        self._vault = vault
        self.target = urlsplit(vault.address).netloc
        self.address = ""
        self.asked: list[str] = []
        self.away = threading.Event()
        self.instead: tuple[int, dict[str, str], bytes] | None = None
        self.on_request: Callable[[], object] = lambda: None
        self.on_answer: Callable[[], object] = lambda: None

    @property
    def role_id(self) -> str:
        return self._vault.role_id

    def secret_id(self) -> str:
        return self._vault.secret_id()

    def asked_for(self, path: str) -> int:
        """How many requests named this secret."""
        return sum(path in each for each in self.asked)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: VaultProxy


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, or Nagle costs 40 ms each
    timeout = 60  # else a line that rests is cut just when it is used again
    server: _Server

    def forward(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy.asked.append(self.path)
        if proxy.away.is_set():
            self.close_connection = True
            return
        try:
            proxy.on_request()
            status, headers, content = proxy.instead or self._answer_of_vault(body)
        except (OSError, http.client.HTTPException):
            self.close_connection = True  # OpenBao does not answer: whoever asks sees the same
            return
        proxy.on_answer()
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def _answer_of_vault(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        with contextlib.closing(http.client.HTTPConnection(self.server.proxy.target, timeout=60)) as upstream:
            names = ("X-Vault-Token", "X-Vault-Request", "Content-Type")
            headers = {name: self.headers[name] for name in names if name in self.headers}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            kind = answer.getheader("Content-Type", "application/json")
            return answer.status, {"Content-Type": kind}, answer.read()

    do_GET = do_POST = do_PUT = do_LIST = forward  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the console."""


@contextlib.contextmanager
def running_proxy(vault: Bao) -> Iterator[VaultProxy]:
    server = _Server(("127.0.0.1", 0), _Handler)
    proxy = server.proxy = VaultProxy(vault)
    proxy.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
