"""A key set behind TLS with an authority of its own, and a login: as an API server of Kubernetes has it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.access import fetch_document
from tests.proxy.certificate import write_certificate


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[tuple[str, list[str | None]]]:
    """The URL of a server, and the Authorization headers that it was sent."""
    told: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"keys": []}')

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that does not like the certificate goes away."""

    write_certificate(tmp_path / "server.pem", tmp_path / "server.key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}/openid/v1/jwks", told
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_token_is_read_at_each_fetch_and_sent_as_a_bearer(
    tmp_path: Path, asked: tuple[str, list[str | None]]
) -> None:
    url, told = asked
    login = tmp_path / "token"
    for token in ("first", "second"):
        login.write_text(f"{token}\n")
        assert fetch_document(url, ca_file=tmp_path / "server.pem", token_file=login) == b'{"keys": []}'
    assert fetch_document(url, ca_file=tmp_path / "server.pem") == b'{"keys": []}'
    assert told == ["Bearer first", "Bearer second", None]


def test_a_certificate_that_the_authority_did_not_sign_is_refused_before_the_token_is_sent(
    tmp_path: Path, asked: tuple[str, list[str | None]]
) -> None:
    url, told = asked
    (tmp_path / "token").write_text("t0ken")
    write_certificate(tmp_path / "other.pem", tmp_path / "other.key")
    with pytest.raises(OSError, match="certificate") as refused:
        fetch_document(url, ca_file=tmp_path / "other.pem", token_file=tmp_path / "token")
    assert "t0ken" not in str(refused.value)
    assert told == []


def test_a_login_that_cannot_be_read_is_a_failed_fetch(tmp_path: Path, asked: tuple[str, list[str | None]]) -> None:
    with pytest.raises(OSError, match=r"."):
        fetch_document(asked[0], ca_file=tmp_path / "server.pem", token_file=tmp_path / "gone")
