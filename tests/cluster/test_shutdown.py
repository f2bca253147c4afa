"""The end of a server, and of the workers that a reload replaces: everybody is told, nobody is cut."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from statistics import median, quantiles

import pytest

from tests.cluster.clients import EventClient, PollClient, WebSocketClient, arrived, ask, on_each_worker
from tests.cluster.crowd import Crowd
from tests.cluster.leftovers import quiet
from tests.cluster.promises import last
from tests.cluster.stack import Stack
from tests.support import eventually

CROWD = 300
#: Seconds over which a worker spreads its goodbyes, while it has no more than 200 streams for each.
SPREAD = 5


def told_in_turn(crowd: Crowd) -> None:
    """Each was told to come back, at a random moment of the spread, and then closed; but for what a busy machine does
    to a few."""
    for stream in crowd.streams:
        assert stream.goodbye.get("code") == 1012, stream
        assert stream.kind == "sse" or stream.close_code == 1012
    assert quantiles([stream.ended_at - stream.told_at for stream in crowd.streams], n=10)[-1] < 1
    begun = min(stream.told_at for stream in crowd.streams)
    moments = [stream.told_at - begun for stream in crowd.streams]
    assert quantiles(moments, n=10)[-1] < SPREAD + 1.5, sorted(moments)
    told = [sum(fifth <= moment < fifth + 1.5 for moment in moments) for fifth in range(SPREAD)]
    assert sum(number > len(moments) / 20 for number in told) >= SPREAD - 1, sorted(moments)
    pairs = [early < late for number, early in enumerate(moments) for late in moments[number + 1 :]]
    assert 0.4 < sum(pairs) / len(pairs) < 0.6, "the order in which they came"
    pauses = [stream.goodbye["retry_ms"] for stream in crowd.streams]
    assert 0 < min(pauses) < 1000 < 4000 < max(pauses) <= 1000 * SPREAD


def polls_were_answered(polls: Sequence[PollClient]) -> None:
    for poll in polls:
        eventually(lambda: 304 in [status for _, status, _ in poll.answers])  # noqa: B023 - done within the round
        poll.answers = [each for each in poll.answers if each[1] != 503]  # it came back before the end


@pytest.mark.slow
def test_a_server_that_ends_says_goodbye_to_every_client_and_exits_in_peace(stack: Stack) -> None:
    stack.origin.write({"pay.yml": "n: 0\n"})
    token = stack.token("pay")
    server = stack.server(STREAMS_PER_WORKER="16000").start()  # gunicorn has patience for 90 seconds then
    with (
        on_each_worker(server, lambda: WebSocketClient(server, token, {"pay/prod": None})) as sockets,
        on_each_worker(server, lambda: EventClient(server, token, {"pay/prod": None})) as events,
        on_each_worker(server, lambda: PollClient(server, token, "pay/prod")) as polls,
        socket.create_connection(("127.0.0.1", server.port)) as idle,
        Crowd(server, token, "pay/prod", CROWD) as crowd,
    ):
        idle.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 200")  # and now it is kept alive, with nothing to say
        streams: list[WebSocketClient | EventClient] = [*sockets, *events]
        eventually(lambda: all(client.held() for client in streams) and crowd.all_hold())
        asked = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - asked < 30
        eventually(lambda: all(client.ended for client in (*streams, *polls)) and crowd.all_ended())
        told_in_turn(crowd)
        assert [client.code for client in sockets] == [1012, 1012]
        for client in streams:
            kind, last = client.kind, client.told.frames[-1][1]
            assert last["type"] == "goodbye", (kind, last)
            assert last["retry_ms"] > 0
        polls_were_answered(polls)
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
        on_each_worker(server, lambda: PollClient(server, token, "pay/prod")) as polls,
        Crowd(server, token, "pay/prod", CROWD) as crowd,
    ):
        streams: list[WebSocketClient | EventClient] = [*sockets, *events]
        eventually(lambda: all(client.held() for client in streams) and crowd.all_hold())
        server.reload()
        # the settings are checked first, and new workers begun
        eventually(lambda: all(client.ended for client in streams) and crowd.all_ended(), timeout=60)
        told_in_turn(crowd)
        polls_were_answered(polls)
        assert [client.code for client in sockets] == [1012, 1012]
        assert all(client.told.frames[-1][1]["type"] == "goodbye" for client in streams)
        eventually(lambda: len(server.workers) == 2 and not former & set(server.workers), timeout=30)
    eventually(lambda: ask(server, "/health/ready").status_code == 200)
    with on_each_worker(server, lambda: WebSocketClient(server, token, {"pay/prod": None})) as sockets:
        eventually(lambda: all(client.held() for client in sockets))
        waits: list[float] = []
        for number in (1, 2, 3):
            version = stack.origin.write({"pay.yml": f"n: {number}\n"})
            stack.refresh(server)
            answered = time.monotonic()
            waits.append(last(arrived(sockets, version), answered))
        assert median(waits) < 1
    assert server.stop() == 0
    quiet(server)
