"""The fault proxy: each fault does what it says, to the direction that it was set for, and to nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.fault_proxy import FaultProxy
from tests.support import eventually

TCP_USER_TIMEOUT = 18
SECRET = random.Random(7).randbytes(300_000)


class Pair:
    """The two ends of one connection through the proxy."""

    def __init__(self, proxy: FaultProxy, listener: socket.socket) -> None:
        self.client = socket.create_connection(("127.0.0.1", proxy.port), timeout=30)
        self.server, _ = listener.accept()
        self.server.settimeout(30)
        port = self.client.getsockname()[1]
        (self.link,) = eventually(lambda: [each for each in proxy.links if each.client_port == port])

    def close(self) -> None:
        self.client.close()
        self.server.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        yield listening


@pytest.fixture
def proxy(listener: socket.socket) -> Iterator[FaultProxy]:
    with FaultProxy(listener.getsockname()[1], seed=1) as running:
        yield running


@pytest.fixture
def pair(proxy: FaultProxy, listener: socket.socket) -> Iterator[Pair]:
    with contextlib.closing(Pair(proxy, listener)) as made:
        yield made


def exactly(sock: socket.socket, size: int) -> bytes:
    taken = b""
    while len(taken) < size:
        data = sock.recv(size - len(taken))
        if not data:
            return taken
        taken += data
    return taken


def silent(sock: socket.socket, seconds: float = 0.2) -> bool:
    """Whether nothing comes for so long: the time itself is the matter."""
    before = sock.gettimeout()
    sock.settimeout(seconds)
    try:
        return sock.recv(1) == b"never"
    except TimeoutError:
        return True
    finally:
        sock.settimeout(before)


def is_reset(sock: socket.socket) -> bool:
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        return True
    return False


def test_without_a_fault_every_byte_passes_both_ways_and_the_end_too(proxy: FaultProxy, pair: Pair) -> None:
    sender = threading.Thread(target=pair.client.sendall, args=(SECRET,))
    sender.start()
    assert hashlib.sha256(exactly(pair.server, len(SECRET))).digest() == hashlib.sha256(SECRET).digest()
    sender.join()
    pair.server.sendall(b"thanks")
    assert exactly(pair.client, 6) == b"thanks"
    eventually(lambda: (proxy.up.passed, proxy.down.passed) == (len(SECRET), 6))  # counted once it is handed on
    pair.client.shutdown(socket.SHUT_WR)
    assert pair.server.recv(1) == b""
    pair.server.sendall(b"still here")
    assert exactly(pair.client, 10) == b"still here"
    pair.server.close()
    assert pair.client.recv(1) == b""
    eventually(lambda: pair.link.ended)
    assert proxy.links == []


def test_a_delay_holds_up_its_own_direction_alone(proxy: FaultProxy, pair: Pair) -> None:
    proxy.down.delay = 300
    pair.client.sendall(b"up")
    assert exactly(pair.server, 2) == b"up"
    proxy.down.delay = 0.3
    started = time.monotonic()
    pair.server.sendall(b"down")
    assert exactly(pair.client, 4) == b"down"
    assert time.monotonic() - started >= 0.3


def test_torn_pieces_come_in_order_and_are_drawn_by_the_seed(listener: socket.socket) -> None:
    def pieces(seed: int) -> int:
        with (
            FaultProxy(listener.getsockname()[1], seed=seed) as proxy,
            contextlib.closing(Pair(proxy, listener)) as pair,
        ):
            proxy.down.piece, proxy.down.torn = 20, True
            pair.server.sendall(SECRET[:2000])
            assert exactly(pair.client, 2000) == SECRET[:2000]
            eventually(lambda: proxy.down.passed == 2000)  # counted once it is handed on
            return proxy.down.pieces

    counts = [pieces(seed) for seed in range(5)]
    assert min(counts) > 150
    assert len(set(counts)) > 1
    assert pieces(3) == counts[3]


def test_who_is_stalled_gets_nothing_until_released_and_what_stalls_takes_nothing(
    proxy: FaultProxy, listener: socket.socket, pair: Pair
) -> None:
    proxy.down.stall()
    pair.server.sendall(b"wait")
    assert silent(pair.client)
    pair.client.sendall(b"up")
    assert exactly(pair.server, 2) == b"up"
    pair.server.settimeout(0.5)
    with pytest.raises(TimeoutError):  # the kernels take some megabytes, and then no more
        pair.server.sendall(SECRET * 1000)
    proxy.down.release()
    assert exactly(pair.client, 4) == b"wait"
    assert exactly(pair.client, len(SECRET)) == SECRET


@pytest.mark.parametrize("reset", [True, False])
def test_a_cut_comes_after_the_byte_that_it_was_set_for_and_once(
    proxy: FaultProxy, listener: socket.socket, pair: Pair, reset: bool
) -> None:
    proxy.down.cut_after(1234, reset=reset)
    pair.server.sendall(SECRET[:1000])
    assert exactly(pair.client, 1000) == SECRET[:1000]
    pair.server.sendall(SECRET[1000:5000])
    if reset:
        assert is_reset(pair.client)
    else:
        assert exactly(pair.client, 5000) == SECRET[1000:1234]
        assert pair.server.recv(1) == b""
    assert proxy.down.passed == 1234
    assert not proxy.down.will_cut
    eventually(lambda: pair.link.ended)
    with contextlib.closing(Pair(proxy, listener)) as other:
        other.server.sendall(SECRET)
        assert exactly(other.client, len(SECRET)) == SECRET


def test_a_reset_of_one_side_is_a_reset_for_the_other(pair: Pair) -> None:
    pair.link.cut()
    assert is_reset(pair.client)
    assert is_reset(pair.server)


@pytest.mark.parametrize("up", [True, False])
def test_a_half_close_ends_one_direction_and_no_other(proxy: FaultProxy, pair: Pair, up: bool) -> None:
    deaf, living = (pair.server, pair.client) if up else (pair.client, pair.server)
    proxy.half_close(up=up)
    assert deaf.recv(1) == b""
    living.sendall(b"lost")
    deaf.sendall(b"goes on")
    assert exactly(living, 7) == b"goes on"
    deaf.close()
    assert living.recv(1) == b""


def test_a_cable_that_is_pulled_tells_nobody_and_what_was_said_arrives_when_it_is_back(
    proxy: FaultProxy, listener: socket.socket, pair: Pair
) -> None:
    proxy.unplug()
    pair.server.sendall(b"down")
    pair.client.sendall(b"up")
    assert silent(pair.client)
    assert silent(pair.server)
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=0.2)
    proxy.plug()
    assert exactly(pair.client, 4) == b"down"
    assert exactly(pair.server, 2) == b"up"
    with contextlib.closing(Pair(proxy, listener)) as other:
        other.server.sendall(b"new")
        assert exactly(other.client, 3) == b"new"


def test_behind_a_pulled_cable_the_kernel_gives_up_who_acknowledges_nothing(proxy: FaultProxy, pair: Pair) -> None:
    pair.server.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 500)
    proxy.unplug()
    pair.server.sendall(b"are you there")
    with pytest.raises(TimeoutError, match="110"):
        pair.server.recv(1)


def test_a_proxy_that_refuses_or_has_nobody_behind_it_resets(proxy: FaultProxy, listener: socket.socket) -> None:
    def refused() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as client:
                return is_reset(client)
        except ConnectionResetError:  # sooner than the client had seen that it was accepted
            return True

    proxy.refusing = True
    assert refused()
    proxy.refusing = False
    listener.close()
    assert refused()


def test_its_end_is_the_end_of_every_link_whatever_waits_in_it(listener: socket.socket) -> None:
    before = set(threading.enumerate())
    with contextlib.ExitStack() as closing:
        with FaultProxy(listener.getsockname()[1]) as proxy:
            pairs = [closing.enter_context(contextlib.closing(Pair(proxy, listener))) for _ in range(5)]
            proxy.up.delay, proxy.down.piece = 60, 1
            proxy.down.stall()
            for pair in pairs:
                pair.server.sendall(SECRET[:1000])
                pair.client.sendall(b"x")
            started = time.monotonic()
        assert time.monotonic() - started < 10
        eventually(lambda: set(threading.enumerate()) <= before)
        assert all(is_reset(pair.client) for pair in pairs)


def test_what_is_altered_on_its_way_is_as_long_as_before(proxy: FaultProxy, pair: Pair) -> None:
    proxy.down.altered = {b"pool": b"POOL"}
    pair.server.sendall(b"a pool of pools")
    assert exactly(pair.client, 15) == b"a POOL of POOLs"
    pair.client.sendall(b"a pool")
    assert exactly(pair.server, 6) == b"a pool", "the other way"
