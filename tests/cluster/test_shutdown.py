"""The end of a server, and of the workers that a reload replaces: everybody is told, nobody is cut."""

from __future__ import annotations

import socket
import time

import pytest

from tests.cluster.clients import EventClient, PollClient, WebSocketClient, arrived, ask, on_each_worker
from tests.cluster.leftovers import quiet
from tests.cluster.stack import Stack
from tests.support import eventually


@pytest.mark.slow
def test_a_server_that_ends_says_goodbye_to_every_client_and_exits_in_peace(stack: Stack) -> None:
    stack.origin.write({"pay.yml": "n: 0\n"})
    token = stack.token("pay")
    server = stack.server().start()
    with (
        on_each_worker(server, lambda: WebSocketClient(server, token, {"pay/prod": None})) as sockets,
        on_each_worker(server, lambda: EventClient(server, token, {"pay/prod": None})) as events,
        on_each_worker(server, lambda: PollClient(server, token, "pay/prod")) as polls,
        socket.create_connection(("127.0.0.1", server.port)) as idle,
    ):
        idle.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 200")  # and now it is kept alive, with nothing to say
        streams: list[WebSocketClient | EventClient] = [*sockets, *events]
        eventually(lambda: all(client.held() for client in streams))
        asked = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - asked < 10
        eventually(lambda: all(client.ended for client in (*streams, *polls)))
        assert [client.code for client in sockets] == [1012, 1012]
        for client in streams:
            kind, last = client.kind, client.told.frames[-1][1]
            assert last["type"] == "goodbye", (kind, last)
            assert last["retry_ms"] > 0
        assert all(304 in [status for _, status, _ in poll.answers] for poll in polls)
        for poll in polls:
            poll.answers = [each for each in poll.answers if each[1] != 503]  # it had come back before the end
    quiet(server)


@pytest.mark.slow
def test_a_reload_replaces_the_workers_and_the_streams_of_the_old_ones_come_back(stack: Stack) -> None:
    stack.origin.write({"pay.yml": "n: 0\n"})
    token = stack.token("pay")
    server = stack.server().start()
    former = set(server.workers)
    with (
        on_each_worker(server, lambda: WebSocketClient(server, token, {"pay/prod": None})) as sockets,
        on_each_worker(server, lambda: EventClient(server, token, {"pay/prod": None})) as events,
    ):
        streams: list[WebSocketClient | EventClient] = [*sockets, *events]
        eventually(lambda: all(client.held() for client in streams))
        server.reload()
        eventually(lambda: all(client.ended for client in streams), timeout=10)
        assert [client.code for client in sockets] == [1012, 1012]
        assert all(client.told.frames[-1][1]["type"] == "goodbye" for client in streams)
        eventually(lambda: len(server.workers) == 2 and not former & set(server.workers), timeout=10)
    assert ask(server, "/health/ready").status_code == 200
    with on_each_worker(server, lambda: WebSocketClient(server, token, {"pay/prod": None})) as sockets:
        eventually(lambda: all(client.held() for client in sockets))
        version = stack.origin.write({"pay.yml": "n: 1\n"})
        stack.refresh(server)
        arrived(sockets, version, timeout=1)
    assert server.stop() == 0
    quiet(server)
