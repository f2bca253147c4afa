"""Frames of clients, good and bad: each fault has its close code, ends one stream, and leaves nothing behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from wsproto.frame_protocol import Opcode

from devstack.server import Server
from tests.cluster.clients import WebSocketClient, arrived
from tests.cluster.conftest import NewStack
from tests.cluster.frames import BROKEN, CLOSES, GOOD, NOT_OURS, SUBSCRIBE, UNSUBSCRIBE, closing, message
from tests.cluster.leftovers import nothing_left, quiet
from tests.cluster.rawsocket import RawSocket
from tests.cluster.stack import BRISK, Stack
from tests.protocol import validated
from tests.support import eventually


@pytest.fixture(scope="module")
def stack(new_stack: NewStack) -> Stack:
    made = new_stack()
    made.origin.write({"pay.yml": "n: 0\n"})
    return made


@pytest.fixture(scope="module")
def server(stack: Stack) -> Server:
    """One worker, so that who breaks the rules and who does not are in the same one."""
    return stack.server(application=BRISK, WORKERS="1").start()


@pytest.fixture
def token(stack: Stack) -> str:
    return stack.token("pay")


@pytest.fixture
def witness(server: Server, token: str) -> Iterator[WebSocketClient]:
    """Another client of the same worker, to whom nothing happens; nor has the server anything to complain of."""
    worker = server.workers
    client = WebSocketClient(server, token, {"pay/prod": None})
    with contextlib.closing(client):
        eventually(client.held)
        yield client
        assert not client.ended
        client.check()
    assert server.workers == worker
    quiet(server)


def ended(server: Server, token: str, sent: bytes) -> tuple[list[dict[str, Any]], int]:
    """What a client is told that sends this, but for `hello` and heartbeats, and the code with which it is closed."""
    with RawSocket(server, token) as client:
        assert client.status == 101
        assert validated(client.receive()[1])["type"] == "hello"
        client.send(sent)
        told, code = client.to_the_end()
        assert client.is_over()
    frames = [validated(payload) for opcode, payload in told if opcode is Opcode.TEXT]
    return [each for each in frames if each["type"] != "sync"], code


@pytest.mark.parametrize(("sent", "code"), BROKEN.values(), ids=BROKEN)
def test_what_breaks_the_framing_has_its_code(
    server: Server, token: str, witness: WebSocketClient, sent: bytes, code: int
) -> None:
    told, given = ended(server, token, sent)
    assert given == code
    assert [each for each in told if each["type"] == "error"] == []


@pytest.mark.parametrize("sent", NOT_OURS.values(), ids=NOT_OURS)
def test_a_message_that_is_none_of_ours_is_4400(
    server: Server, token: str, witness: WebSocketClient, sent: bytes
) -> None:
    told, code = ended(server, token, sent)
    assert code == 4400
    assert told == [{"type": "error", "code": "bad-frame", "retry": False}]


@pytest.mark.parametrize(("sent", "code"), CLOSES.values(), ids=CLOSES)
def test_who_closes_is_answered_with_its_own_code(
    server: Server, token: str, witness: WebSocketClient, sent: bytes, code: int
) -> None:
    assert ended(server, token, sent) == ([], code)


@pytest.mark.parametrize("piece", [0, 1], ids=["at once", "byte by byte"])
@pytest.mark.parametrize(("sent", "answers", "pongs"), GOOD.values(), ids=GOOD)
def test_whatever_is_allowed_is_understood(
    server: Server, token: str, witness: WebSocketClient, sent: bytes, answers: int, pongs: list[bytes], piece: int
) -> None:
    with RawSocket(server, token) as client:
        assert validated(client.receive()[1])["type"] == "hello"
        for at in range(0, len(sent), piece or len(sent)):
            client.send(sent[at : at + (piece or len(sent))])
        told: list[dict[str, Any]] = []
        heard: list[bytes] = []
        while [each["type"] for each in told].count("subscribed") < answers or told[-1]["type"] != "sync":
            opcode, payload = client.receive()
            if opcode is Opcode.PONG:
                heard.append(payload)
            else:
                told.append(validated(payload))
        assert heard == pongs
        assert {each["type"] for each in told} == {"subscribed", "change", "sync"}
        client.send(closing(1000))
        assert client.close_code() == 1000
        assert client.is_over()


def test_more_than_twenty_messages_in_ten_seconds_are_too_many(
    server: Server, token: str, witness: WebSocketClient
) -> None:
    told, code = ended(server, token, message(UNSUBSCRIBE) * 21)
    assert code == 4502
    assert [(each["type"], each["code"]) for each in told] == [("goodbye", 4502)]


def test_who_goes_in_the_middle_of_a_frame_takes_nobody_along(
    server: Server, token: str, witness: WebSocketClient
) -> None:
    for size in range(1, 20):
        with RawSocket(server, token) as client:
            client.send(message(SUBSCRIBE)[:size])
            if size % 2:
                client.reset()


@pytest.mark.slow
def test_all_of_it_together_leaves_nothing_behind(stack: Stack, server: Server, token: str) -> None:
    sent = [*NOT_OURS.values(), *(each[0] for each in (*BROKEN.values(), *CLOSES.values()))]
    with nothing_left(server):
        for each in sent:
            ended(server, token, each)
    client = WebSocketClient(server, token, {"pay/prod": None})
    with contextlib.closing(client):
        eventually(client.held)
        version = stack.origin.write({"pay.yml": "n: 1\n"})
        stack.refresh(server)
        arrived([client], version)
    quiet(server)
