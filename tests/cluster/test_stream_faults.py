"""Clients that do not read, that vanish, or that are too many: they are cut off, and cost the others nothing."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from statistics import median

import pytest
from wsproto.frame_protocol import Opcode

from devstack.server import Server
from tests.cluster.clients import EventClient, WebSocketClient, arrived, ask, bearer, on_each_worker
from tests.cluster.conftest import NewStack
from tests.cluster.leftovers import nothing_left, quiet, streams_open
from tests.cluster.promises import last
from tests.cluster.rawsocket import RawSocket, frame
from tests.cluster.stack import Stack, timed
from tests.support import eventually

CROWD = 200
#: For how long (seconds) a client may take nothing: one of a busy machine must not be cut for it.
SLOW = 3
SUBSCRIBE = frame(json.dumps({"type": "subscribe", "topics": [{"name": "pay/prod"}]}).encode())


@pytest.fixture(scope="module")
def brisk(new_stack: NewStack) -> tuple[Stack, Server]:
    """Two workers whose heartbeat is a second, and for whom a client is slow soon."""
    stack = new_stack()
    stack.origin.write({"pay.yml": "n: 0\n"})
    return stack, stack.server(application=timed(heartbeat=1, stream_write=SLOW, drain=1, redis=10)).start()


def raw_events(server: Server, token: str, *, receive_buffer: int = 0) -> socket.socket:
    """A connection on which an event stream was asked for and nothing was read."""
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(30)
    client.connect(("127.0.0.1", server.port))
    headers = "".join(f"{name}: {value}\r\n" for name, value in bearer(token).items())
    client.sendall(f"GET /v1/events?topic=pay/prod HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
    return client


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.slow
def test_hundreds_of_clients_that_vanish_leave_no_stream_descriptor_or_greenlet(brisk: tuple[Stack, Server]) -> None:
    stack, server = brisk
    token = stack.token("pay")
    with on_each_worker(server, lambda: WebSocketClient(server, token, {"pay/prod": None})) as clients:
        eventually(lambda: all(client.held() for client in clients))  # each worker has all that it opens once
    with nothing_left(server):
        sockets = [RawSocket(server, token) for _ in range(CROWD)]
        events = [raw_events(server, token) for _ in range(CROWD)]
        for each in sockets:
            each.send(SUBSCRIBE)
        eventually(lambda: streams_open(server) == 2 * CROWD, timeout=60)
        stack.origin.write({"pay.yml": "crowd: 1\n"})
        stack.refresh(server)
        for each in sockets:
            each.reset()
        for client in events:
            reset(client)


@pytest.mark.slow
def test_clients_that_never_read_are_cut_off_and_the_others_hear_of_every_change(
    brisk: tuple[Stack, Server],
) -> None:
    stack, server = brisk
    token = stack.token("pay")
    filling = "x" * 900_000
    with (
        slow_readers(server, token) as workers,
        on_each_worker(server, lambda: WebSocketClient(server, token, {"pay/prod": None})) as sockets,
        on_each_worker(server, lambda: EventClient(server, token, {"pay/prod": None})) as events,
    ):
        assert workers == set(server.workers)
        waits: list[float] = []
        for number in range(8):
            version = stack.origin.write({"pay.yml": f"slow: {number}\nfilling: {filling}\n"})
            stack.refresh(server)
            answered = time.monotonic()
            waits.append(last(arrived([*sockets, *events], version), answered))
        assert median(waits) < 1
        eventually(lambda: streams_open(server) == len(sockets) + len(events), timeout=30)
    eventually(lambda: "4500" in {line.get("stream.reason") for line in server.log_lines()})  # the last that is told
    quiet(server)


@pytest.mark.slow
@pytest.mark.parametrize("flood", ["pongs", "pings", "parts", "bytes to an event stream"])
def test_who_sends_without_end_holds_up_nobody(brisk: tuple[Stack, Server], flood: str) -> None:
    """Whether it is cut or left alone: others of the same worker are told and answered as if it were not there."""
    stack, server = brisk
    token = stack.token("pay")
    pieces = {
        "pongs": frame(b"", Opcode.PONG) * 10_000,
        "pings": frame(b"", Opcode.PING) * 10_000,
        "parts": frame(b"", final=False) + frame(b"", Opcode.CONTINUATION, final=False) * 10_000,
        "bytes to an event stream": b"x" * 60_000,
    }
    with (
        on_each_worker(server, lambda: WebSocketClient(server, token, {"pay/prod": None})) as others,
        flooding(server, token, pieces[flood], events="event" in flood),
    ):
        waits: list[float] = []
        answers: list[float] = []
        for number in range(3):
            version = stack.origin.write({"pay.yml": f"{flood}: {number}\n"})
            stack.refresh(server)
            answered = time.monotonic()
            waits.append(last(arrived(others, version), answered))
            for _ in range(4):
                began = time.monotonic()
                assert ask(server, "/v1/config/pay/prod", token).status_code == 200
                answers.append(time.monotonic() - began)
        assert median(waits) < 1
        assert median(answers) < 1
    eventually(lambda: streams_open(server) == 0)
    quiet(server)


@contextlib.contextmanager
def flooding(server: Server, token: str, piece: bytes, *, events: bool) -> Iterator[None]:
    """A client on some worker that sends this again and again, as fast as it is taken, and reads what is answered."""
    client = raw_events(server, token) if events else RawSocket(server, token).socket
    done = threading.Event()

    def send() -> None:
        with contextlib.suppress(OSError):
            while not done.is_set():
                client.sendall(piece)

    def read() -> None:
        with contextlib.suppress(OSError):
            while client.recv(65536):
                pass

    threads = [threading.Thread(target=each) for each in (send, read)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(30)
        client.close()


@contextlib.contextmanager
def slow_readers(server: Server, token: str) -> Iterator[set[int]]:
    """A WebSocket and an event stream on each worker that ask for everything and read nothing; the workers."""
    workers: dict[str, set[int]] = {"websocket": set(), "sse": set()}
    with contextlib.ExitStack() as closing:
        for _ in range(60):
            web_socket = closing.enter_context(RawSocket(server, token))
            web_socket.send(SUBSCRIBE)
            workers["websocket"].add(web_socket.worker or 0)
            events = closing.enter_context(raw_events(server, token, receive_buffer=4096))
            eventually(lambda: server.worker_of(events.getsockname()[1]))  # noqa: B023 - done within the round
            workers["sse"].add(server.worker_of(events.getsockname()[1]) or 0)
            if all(found == set(server.workers) for found in workers.values()):
                break
        yield workers["websocket"] & workers["sse"]


@pytest.mark.slow
def test_a_worker_full_of_streams_refuses_more_and_goes_on_answering(new_stack: NewStack) -> None:
    stack = new_stack()
    stack.origin.write({"pay.yml": "n: 0\n"})
    token = stack.token("pay")
    server = stack.server(STREAMS_PER_WORKER="5", WORKERS="1").start()
    with contextlib.ExitStack() as open_ones:
        for _ in range(5):
            assert open_ones.enter_context(RawSocket(server, token)).status == 101
        with RawSocket(server, token) as refused:
            assert refused.status == 503
            assert int(refused.headers["retry-after"]) > 0
        tag = ask(server, "/v1/config/pay/prod", token).headers["ETag"]
        for path in ("/v1/events?topic=pay/prod", "/v1/config/pay/prod?wait=5"):
            answer = ask(server, path, token, headers={"If-None-Match": tag})
            assert answer.status_code == 503, path
            assert int(answer.headers["Retry-After"]) > 0
        for path in ("/v1/config/pay/prod", "/health", "/health/ready", "/metrics"):
            assert ask(server, path, token).status_code == 200
        version = stack.origin.write({"pay.yml": "n: 1\n"})
        assert stack.refresh(server).json()["version"] == version
    eventually(lambda: streams_open(server) == 0)
    with RawSocket(server, token) as admitted:
        assert admitted.status == 101
    server.stop()
