"""Who is refused is refused before the upgrade, and what is no frame of ours ends one connection and no other."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from wsproto.frame_protocol import Opcode

from devstack.server import Server
from tests.cluster.clients import ask
from tests.cluster.rawsocket import RawSocket, frame
from tests.cluster.stack import Stack
from tests.protocol import validated

UI = "https://ui.example.org"  # what the server of these tests allows
SUBSCRIBE = json.dumps({"type": "subscribe", "topics": [{"name": "shaken/prod"}]}).encode()


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
        ({"Sec-WebSocket-Version": "8"}, 400),
        ({"Sec-WebSocket-Key": None}, 400),
        ({"Sec-WebSocket-Extensions": "permessage-deflate"}, 101),
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


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(frame(SUBSCRIBE, masked=False), 1002, id="unmasked"),
        pytest.param(frame(SUBSCRIBE, Opcode.BINARY), 4400, id="binary"),
        pytest.param(frame(b"x" * 20_000), 1009, id="too big"),
        pytest.param(
            frame(b"x" * 10_000, final=False) + frame(b"x" * 10_000, Opcode.CONTINUATION), 1009, id="too big in parts"
        ),
        pytest.param(frame(b"{not json"), 4400, id="not JSON"),
        pytest.param(frame(b"[]"), 4400, id="no object"),
        pytest.param(frame(b'{"type": "explode"}'), 4400, id="no command"),
        pytest.param(frame(b"\xff\xfe"), 1007, id="not UTF-8"),
        pytest.param(frame(b"\x03\xe8", Opcode.CLOSE), 1000, id="closed by the client"),
        pytest.param(frame(SUBSCRIBE, Opcode.CONTINUATION), 1002, id="a part of nothing"),
    ],
)
def test_what_is_no_frame_of_the_protocol_closes_the_connection_with_a_code(
    duo: Server, token: str, sent: bytes, code: int
) -> None:
    with RawSocket(duo, token) as other, RawSocket(duo, token) as client:
        assert (other.status, client.status) == (101, 101)
        client.send(sent)
        assert client.close_code() == code
        other.receive()
        other.send(frame(SUBSCRIBE))
        assert validated(other.receive()[1])["type"] == "subscribed"


def test_a_message_in_parts_with_a_ping_between_them_is_one_message(duo: Server, token: str) -> None:
    with RawSocket(duo, token) as client:
        client.receive()
        client.send(frame(SUBSCRIBE[:10], final=False))
        client.send(frame(b"are you there", Opcode.PING))
        assert client.receive() == (Opcode.PONG, b"are you there")
        client.send(frame(SUBSCRIBE[10:20], Opcode.CONTINUATION, final=False))
        client.send(frame(SUBSCRIBE[20:], Opcode.CONTINUATION))
        assert [validated(client.receive()[1])["type"] for _ in range(3)] == ["subscribed", "change", "sync"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Origin": "https://evil.example.org"}, 403), ({"Origin": "null"}, 403), ({"Authorization": "Bearer x"}, 401)],
)
def test_an_event_stream_refuses_the_same(duo: Server, token: str, headers: dict[str, str], status: int) -> None:
    assert ask(duo, "/v1/events?topic=shaken/prod", token, headers=headers).status_code == status
