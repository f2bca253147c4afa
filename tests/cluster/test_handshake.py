"""Who is refused is refused before the upgrade, with the status of HTTP that says why."""

from __future__ import annotations

import base64
import socket
from collections.abc import Mapping

import pytest

from devstack.server import Server
from tests.cluster.clients import ask, bearer
from tests.cluster.conftest import NewStack
from tests.cluster.leftovers import nothing_left, quiet
from tests.cluster.rawsocket import HANDSHAKE, RawSocket
from tests.cluster.stack import BRISK, Stack
from tests.protocol import validated

KEY = base64.b64encode(bytes(range(16))).decode()
UI = "https://ui.example.org"  # what the server of these tests allows


@pytest.fixture(scope="module")
def token(shared: Stack, duo: Server) -> str:
    shared.origin.write({"shaken.yml": "n: 0\n"})
    shared.refresh(duo)
    return shared.token("shaken")


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 101),
        ({"Origin": UI}, 101),
        ({"Origin": "https://evil.example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": UI + ".evil.example.org"}, 403),
        ({"Authorization": None}, 401),
        ({"Authorization": "Bearer nonsense"}, 401),
        ({"Authorization": None, "Origin": UI}, 401),
        ({"Sec-WebSocket-Protocol": None}, 400),
        ({"Sec-WebSocket-Protocol": "chat, mqtt"}, 400),
        ({"Sec-WebSocket-Protocol": "chat, cfg.v1"}, 101),
        ({"Sec-WebSocket-Protocol": "CFG.V1"}, 400),
        ({"Sec-WebSocket-Protocol": ""}, 400),
        ({"Sec-WebSocket-Key": None}, 400),
        ({"Sec-WebSocket-Key": ""}, 400),
        ({"Sec-WebSocket-Key": "c2hvcnQ="}, 400),
        ({"Sec-WebSocket-Key": KEY + "AAAA"}, 400),
        ({"Sec-WebSocket-Key": KEY[:-2]}, 400),
        ({"Sec-WebSocket-Key": "!" * 22 + "=="}, 400),
        ({"Sec-WebSocket-Key": f"{KEY}\r\nSec-WebSocket-Key: {KEY}"}, 400),
        ({"Upgrade": None}, 400),
        ({"Upgrade": "h2c"}, 400),
        ({"Upgrade": "WebSocket"}, 101),
        ({"Connection": None}, 400),
        ({"Connection": "close"}, 400),
        ({"Connection": "keep-alive, upgrade"}, 101),
        ({"Sec-WebSocket-Extensions": "permessage-deflate"}, 101),
        ({"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame"}, 101),
    ],
)
def test_who_may_not_connect_is_told_before_the_upgrade(
    duo: Server, token: str, changed: Mapping[str, str | None], status: int
) -> None:
    with RawSocket(duo, token, changed) as client:
        assert client.status == status
        if status == 101:
            assert client.headers["sec-websocket-protocol"] == "cfg.v1"
            assert "sec-websocket-extensions" not in client.headers
            assert validated(client.receive()[1])["type"] == "hello"
        else:
            assert client.headers["content-type"] == "application/problem+json"
            assert ("www-authenticate" in client.headers) == (status == 401)


@pytest.mark.parametrize("version", ["8", "14", "0", "x", "13, 8", None])
def test_another_version_is_told_which_one_there_is(duo: Server, token: str, version: str | None) -> None:
    """RFC 6455, 4.4."""
    with RawSocket(duo, token, {"Sec-WebSocket-Version": version}) as client:
        assert client.status in {400, 426}
        assert client.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS", "DELETE"])
def test_only_a_get_opens_a_websocket(duo: Server, token: str, method: str) -> None:
    with RawSocket(duo, token, {"Content-Length": "0"}, request=f"{method} /v1/stream HTTP/1.1") as client:
        assert client.status in {200, 204, 400, 405} if method == "OPTIONS" else client.status in {400, 405}


def test_an_older_http_opens_no_websocket(duo: Server, token: str) -> None:
    with RawSocket(duo, token, request="GET /v1/stream HTTP/1.0") as client:
        assert client.status in {400, 426, 505}


def test_an_ordinary_request_for_the_stream_is_refused(duo: Server, token: str) -> None:
    answer = ask(duo, "/v1/stream", token)
    assert answer.status_code in {400, 426}
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.slow
def test_who_is_refused_leaves_nothing_behind(new_stack: NewStack) -> None:
    stack = new_stack()
    stack.origin.write({"pay.yml": "n: 0\n"})
    token, server = stack.token("pay"), stack.server(application=BRISK, WORKERS="1").start()
    with nothing_left(server):
        for changed in ({"Sec-WebSocket-Key": None}, {"Authorization": None}, {"Sec-WebSocket-Version": "8"}) * 20:
            with RawSocket(server, token, changed) as client:
                assert client.status in {400, 401, 426}
        for _ in range(20):  # and who goes before it is answered
            with socket.create_connection(("127.0.0.1", server.port)) as gone:
                lines = [f"{name}: {value}" for name, value in {**HANDSHAKE, **bearer(token)}.items()]
                gone.sendall(
                    "\r\n".join(["GET /v1/stream HTTP/1.1", *lines, f"Sec-WebSocket-Key: {KEY}", "", ""]).encode()
                )
    quiet(server)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Origin": "https://evil.example.org"}, 403), ({"Origin": "null"}, 403), ({"Authorization": "Bearer x"}, 401)],
)
def test_an_event_stream_refuses_the_same(duo: Server, token: str, headers: dict[str, str], status: int) -> None:
    assert ask(duo, "/v1/events?topic=shaken/prod", token, headers=headers).status_code == status
