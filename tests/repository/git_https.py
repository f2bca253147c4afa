"""A real Git server over HTTPS: `git http-backend` (CGI, RFC 3875) behind a small server that asks for a login."""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.proxy.certificate import write_certificate


@dataclass
class GitHttps:
    """`passwords` (user -> password) may change while it runs; `logins` are those that were tried."""

    port: int
    ca_file: Path
    passwords: dict[str, str]
    logins: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/origin.git"


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    root: Path
    state: GitHttps

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not like our certificate goes away in the middle of the handshake."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self._body())

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, body: bytes) -> None:
        user = self._user()
        if user is None:
            self._send(401, {"WWW-Authenticate": 'Basic realm="git"'}, b"")
            return
        head, _, content = self._backend(user, body).partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n"))
        self._send(int(headers.pop("Status", "200").split()[0]), headers, content)

    def _user(self) -> str | None:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return None
        login = base64.b64decode(given).decode()
        self.server.state.logins.append(login)
        user, _, password = login.partition(":")
        return user if self.server.state.passwords.get(user) == password else None

    def _backend(self, user: str, body: bytes) -> bytes:
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "REMOTE_USER": user,  # who is logged in may push
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(["git", "http-backend"], env=environment, input=body, capture_output=True, check=True)
        return done.stdout

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def git_https(root: Path, directory: Path, passwords: dict[str, str]) -> Iterator[GitHttps]:
    """Serves the repositories in `root`; its certificate is made in `directory`."""
    certificate, key = directory / "git.pem", directory / "git.key"
    write_certificate(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = _Server(("127.0.0.1", 0), _Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.root = root
    server.state = GitHttps(server.server_port, certificate, passwords)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
