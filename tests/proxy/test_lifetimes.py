"""How streams behind an nginx stay, are left, are refused, and end. The hearts of these servers beat once a second."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from devstack.server import Server
from tests.cluster.clients import EventClient, PollClient, WebSocketClient, ask, streams_of
from tests.cluster.stack import BRISK, Stack
from tests.proxy.conftest import Front
from tests.proxy.nginx import Nginx
from tests.support import eventually

PAY = {"pay/prod": None}


@pytest.fixture(scope="module")
def small(stack: Stack) -> Server:
    """One worker that holds six streams, two of an instance."""
    limits = {"WORKERS": "1", "STREAMS_PER_WORKER": "6", "STREAMS_PER_INSTANCE": "2"}
    return stack.server(application=BRISK, **limits).start()


@pytest.fixture(scope="module")
def nginx(front: Front, small: Server) -> Nginx:
    return front(small)


@pytest.fixture
def opened(small: Server) -> Iterator[ExitStack]:
    """What is open until the end of the test; then the server gets its places back."""
    with ExitStack() as closing:
        yield closing
    eventually(lambda: streams_of(small) == 0)


def test_heartbeats_get_through(nginx: Nginx, token: str, opened: ExitStack) -> None:
    clients: list[WebSocketClient | EventClient] = [WebSocketClient(nginx, token, PAY), EventClient(nginx, token, PAY)]
    for client in clients:
        opened.callback(client.close)
    eventually(lambda: all(len(client.told.of("sync")) >= 3 for client in clients))
    for client in clients:
        client.check()


def test_too_many_streams_and_a_full_worker_are_told_with_a_time_to_come_back(
    nginx: Nginx, token: str, opened: ExitStack
) -> None:
    def refused(instance: str) -> httpx.Response:
        return ask(nginx, "/v1/events?topic=pay/prod", token, headers={"X-Config-Instance": instance})

    for number in range(6):
        client = EventClient(nginx, token, PAY, headers={"X-Config-Instance": f"pay-{number // 2}"})
        opened.callback(client.close)
        if number == 1:
            answer = refused("pay-0")
            assert (answer.status_code, answer.json()["type"]) == (429, "urn:config-server:too-many-streams")
            assert int(answer.headers["Retry-After"]) > 0
    answer = refused("pay-9")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:config-server:overloaded")
    assert int(answer.headers["Retry-After"]) > 0
    assert ask(nginx, "/health/ready").status_code == 200
    assert ask(nginx, "/v1/config/pay/prod", token).status_code == 200


@pytest.mark.slow
def test_a_server_that_ends_says_goodbye_through_nginx_which_answers_502_then(
    stack: Stack, front: Front, token: str
) -> None:
    server = stack.server(application=BRISK, WORKERS="1").start()
    nginx = front(server)
    with ExitStack() as closing:
        socket = WebSocketClient(nginx, token, PAY)
        events = EventClient(nginx, token, PAY)
        poll = PollClient(nginx, token, "pay/prod")
        for client in (socket, events, poll):
            closing.callback(client.close)
        eventually(lambda: socket.held() and events.held() and poll.held())
        codes: list[int] = []
        ending = threading.Thread(target=lambda: codes.append(server.stop()))
        ending.start()
        eventually(lambda: socket.ended and events.ended and poll.ended, timeout=60)
        ending.join(60)
        assert (codes, socket.code) == ([0], 1012)
        for told in (socket.told, events.told):
            assert told.frames[-1][1]["type"] == "goodbye"
            told.check()
        assert 304 in [status for _, status, _ in poll.answers]
    assert ask(nginx, "/health/ready").status_code == 502
