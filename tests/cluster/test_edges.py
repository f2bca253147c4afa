"""The edge of the real server: requests that two readers could read differently, forged headers, TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from app.blueprints.http import SECURITY_HEADERS
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from devstack.server import Server
from tests.cluster.clients import data_of
from tests.proxy.certificate import write_certificate
from tests.serving import EVERYTHING
from tests.support import eventually

READ = "/v1/config/pay/prod"


def server_in(directory: Path, issuer: LocalIssuer, *, options: str = "", **settings: str) -> Server:
    origin = OriginRepo(directory / "origin")
    origin.write({"pay.yml": "n: 1\n"})
    trusted = {"JWT_ISSUER": issuer.url, "JWT_AUDIENCE": issuer.audience, "JWT_JWKS_URL": issuer.jwks_url}
    return Server(directory, {"REPO_URL": origin.url, **trusted, **settings}, gunicorn_options=options)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Server]:
    with closing(server_in(tmp_path_factory.mktemp("edges"), issuer)) as server:
        yield server.start()


def raw(server: Server, request: bytes) -> bytes:
    """Everything that is answered to these bytes until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            return answer.read()


SMUGGLED = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n",
        b"Content-Length: +4\r\n",
        b"Content-Length: 4, 4\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Host: y\r\nContent-Length: 4\r\n",
        b"X-A: b\r\n c: folded\r\n",
        b"X-A: b\nX-B: c\r\n",
        b"X-A\x00: b\r\n",
        b"X-Long: " + b"a" * 9000 + b"\r\n",
        b"".join(b"X-%d: a\r\n" % number for number in range(110)),
    ],
    ids=range(14),
)
def test_what_two_readers_could_read_differently_is_refused_and_nothing_behind_it_is_read(
    plain: Server, head: bytes
) -> None:
    answer = raw(plain, b"POST /hooks/git HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n0\r\n\r\n" + SMUGGLED)
    status = int(answer.split(b" ", 2)[1])
    assert status in {400, 413, 431, 501}, answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1, "the request behind it was answered"
    assert b"Traceback" not in answer


def test_a_request_line_that_is_too_long_is_refused(plain: Server) -> None:
    answer = raw(plain, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.split(b" ", 2)[1] in {b"400", b"414"}


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "SCRIPT-NAME", "PATH_INFO", "X-Forwarded-Prefix", "X-Original-URL"])
def test_no_header_says_which_path_was_meant(plain: Server, name: str) -> None:
    answer = raw(plain, f"GET {READ} HTTP/1.1\r\nHost: x\r\n{name}: /health/live\r\nConnection: close\r\n\r\n".encode())
    assert answer.split(b" ", 2)[1] in {b"400", b"401"}


def test_a_stranger_is_in_the_log_by_the_address_of_the_socket(plain: Server) -> None:
    named = dict.fromkeys(("X-Forwarded-For", "X-Real-IP", "Forwarded", "X_Forwarded_For"), "203.0.113.9")
    answer = httpx.get(plain.url + READ, headers=named, trust_env=False, timeout=30)
    name = answer.headers["X-Request-ID"]
    (line,) = eventually(lambda: [line for line in plain.log_lines() if line.get("http.request.id") == name])
    assert line["client.ip"] == "127.0.0.1"
    assert "203.0.113.9" not in plain.output()


def test_a_token_in_a_query_is_in_no_line_of_the_log(plain: Server, issuer: LocalIssuer) -> None:
    """Nor in the trail; and it opens nothing."""
    token = issuer.token(scope=EVERYTHING)
    for name in ("access_token", "jwt", "token", "ticket"):
        for path in (READ, "/v1/events", "/nothing"):
            answer = httpx.get(f"{plain.url}{path}?topic=pay/prod&{name}={token}", trust_env=False, timeout=30)
            assert answer.status_code in {400, 401, 404}
    served = answer.headers["X-Request-ID"]
    eventually(lambda: any(line.get("http.request.id") == served for line in plain.log_lines()))
    kept = eventually(lambda: [path.read_text(errors="replace") for path in (data_of(plain) / "audit").glob("*.jsonl")])
    assert [text for text in (plain.output(), *kept) if token[:40] in text] == []


@pytest.mark.parametrize("path", ["/health", "/docs", "/openapi.json", READ, "/nothing", "/v1/stream", "/metrics"])
@pytest.mark.parametrize("scope", [EVERYTHING, ""], ids=["good", "none"])
def test_every_answer_has_the_security_headers(plain: Server, issuer: LocalIssuer, path: str, scope: str) -> None:
    headers = {"Authorization": f"Bearer {issuer.token(scope=scope)}"} if scope else {}
    answer = httpx.get(plain.url + path, headers=headers, trust_env=False, timeout=30)
    assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert "no-store" in answer.headers["Cache-Control"] or path in {"/docs", "/openapi.json"}
    assert "Python" not in answer.headers.get("Server", "")


@pytest.mark.slow
def test_tls_and_a_certificate_of_the_client_may_be_demanded(tmp_path: Path, issuer: LocalIssuer) -> None:
    """The options that docs/security.md names."""
    files = {name: (tmp_path / f"{name}.pem", tmp_path / f"{name}.key") for name in ("server", "client", "stranger")}
    for certificate, key in files.values():
        write_certificate(certificate, key)
    options = f"--certfile {files['server'][0]} --keyfile {files['server'][1]} --ca-certs {files['client'][0]}"
    with closing(server_in(tmp_path, issuer, options=f"{options} --cert-reqs 2")) as server:
        server.start(until=None)
        url, token = server.url.replace("http:", "https:"), issuer.token(scope=EVERYTHING)
        headers = {"Authorization": f"Bearer {token}"}

        def read(context: ssl.SSLContext) -> int | None:
            try:
                return httpx.get(url + READ, headers=headers, verify=context, trust_env=False, timeout=30).status_code
            except httpx.TransportError:
                return None

        assert eventually(lambda: read(context_of(files, "client")) == 200, timeout=60)
        assert read(context_of(files, "stranger")) is None
        assert read(context_of(files)) is None
        assert read(ssl.create_default_context()) is None, "the server's certificate is nobody's that we know"
        with pytest.raises(httpx.TransportError):
            httpx.get(server.url + READ, trust_env=False)
        stream = url.replace("https:", "wss:") + "/v1/stream"
        with connect(
            stream,
            ssl=context_of(files, "client"),
            additional_headers=headers,
            subprotocols=["cfg.v1"],  # type: ignore[list-item]
            proxy=None,
            compression=None,
            open_timeout=30,
        ) as connection:
            assert '"hello"' in str(connection.recv(timeout=30))


def context_of(files: dict[str, tuple[Path, Path]], client: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files["server"][0])
    if client:
        context.load_cert_chain(*files[client])
    return context
