"""Who never reads is cut when a write has waited too long, whatever the transport; everybody else is served."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from devstack.server import Server
from tests.cluster.clients import EventClient, WebSocketClient, arrived
from tests.cluster.stack import BRISK, Stack
from tests.support import eventually

#: Larger than what the kernels of both sides put into their buffers.
BIG = "".join(f"key{number}: {'x' * 1000}\n" for number in range(900))


def _request(server: Server, token: str, path: str, *more: str) -> socket.socket:
    """A connection with a small buffer that asks and then reads nothing."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", server.port))
    head = [f"GET {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *more, "", ""]
    sock.sendall("\r\n".join(head).encode())
    return sock


def _events(server: Server, token: str) -> socket.socket:
    return _request(server, token, "/v1/events?topic=big/prod")


def _websocket(server: Server, token: str) -> socket.socket:
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
    sock = _request(server, token, "/v1/stream", *upgrade, "Sec-WebSocket-Protocol: cfg.v1")
    sock.recv(4096)  # the answer; a client that does not wait for it may lose what it sends (RFC 6455, 4.1)
    message = json.dumps({"type": "subscribe", "topics": [{"name": "big/prod"}]}).encode()
    sock.sendall(bytes([0x81, 0x80 | len(message)]) + bytes(4) + message)  # masked with zeros
    return sock


@pytest.fixture
def server(stack: Stack) -> Iterator[Server]:
    stack.origin.write({"big.yml": BIG})
    with closing(stack.server(application=BRISK, WORKERS="1")) as running:
        yield running.start()


@pytest.mark.slow
@pytest.mark.parametrize("opened", [_events, _websocket], ids=["sse", "websocket"])
def test_who_never_reads_is_cut_and_its_place_is_free_while_others_are_told(
    stack: Stack, server: Server, opened: Callable[[Server, str], socket.socket]
) -> None:
    token = stack.token("big")
    with closing(opened(server, token)):
        clients = [kind(server, token, {"big/prod": None}) for kind in (WebSocketClient, EventClient)]
        try:
            eventually(lambda: all(client.held() for client in clients))
            for number in range(3):
                version = stack.origin.write({"big.yml": f"{BIG}n: {number}\n"})
                stack.refresh(server)
                arrived(clients, version)
            eventually(lambda: any(line.get("stream.reason") == "4500" for line in server.log_lines()), timeout=10)
            assert not any(client.ended for client in clients)
        finally:
            for client in clients:
                client.close()
    assert [line for line in server.log_lines() if line["log.level"] in {"warning", "error", "critical"}] == []
