"""Never down because the server is: what fails on the way, and that both clients end with what the server has."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from config_client import ConfigClient, Timings
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from devstack.server import Server
from devstack.valkey import Valkey
from tests.client.both import Client
from tests.client.conftest import NewPair
from tests.client.support import FAST, Shop, await_transport, await_value
from tests.cluster.stack import BRISK
from tests.fault_proxy import FaultProxy
from tests.serving import BRISK as BRISK_TIMINGS
from tests.serving import serving
from tests.support import eventually


@pytest.fixture
def proxy(shop: Shop) -> Iterator[FaultProxy]:
    with FaultProxy(shop.port) as running:
        yield running


def followed(clients: Sequence[Client], by: str = "websocket") -> None:
    for client in clients:
        client.fetch()
        client.listen()
    for client in clients:
        await_transport(client, by)


def all_have(clients: Sequence[Client], key: str, value: Any) -> None:
    for client in clients:
        await_value(client, key, value)


@dataclass(frozen=True)
class Stand:
    """A server in processes of its own, with Redis, that may be hurt as long as it is left well."""

    server: Server
    valkey: Valkey
    origin: OriginRepo
    token: str

    def push(self, number: int) -> None:
        self.origin.write({"pay-prod.yml": f"n: {number}\n"}, "another number")

    def followed(self, new_pair: NewPair) -> list[Client]:
        clients = new_pair(
            config_server_url=self.server.url, service_name="pay", env="prod", auth_token=self.token, timings=FAST
        )
        followed(clients)
        return clients


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Stand]:
    directory = tmp_path_factory.mktemp("stand")
    origin = OriginRepo(directory / "origin")
    origin.write({"pay-prod.yml": "n: 0\n"}, "first")
    (directory / "key").write_text("k" * 40)
    valkey = Valkey(directory / "valkey").start()
    settings = {"REPO_URL": origin.url, "JWT_ISSUER": issuer.url, "JWT_AUDIENCE": issuer.audience, "WORKERS": "1"}
    settings |= {"JWT_JWKS_URL": issuer.jwks_url, "REDIS_URL": valkey.url, "KEY_FILE": str(directory / "key")}
    settings |= {"POLL_SECONDS": "1", "STREAMS_PER_WORKER": "100"}
    server = Server(directory, settings, application=BRISK).start()
    yield Stand(server, valkey, origin, issuer.token(scope="config:read", service="pay"))
    server.close()
    valkey.close()


@pytest.fixture(scope="module")
def restless(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Shop]:
    """Its silence is noticed within seconds."""
    timings = replace(BRISK_TIMINGS, heartbeat=1.0)
    with serving(tmp_path_factory.mktemp("restless"), issuer, {"application.yml": ""}, timings=timings) as one:
        yield Shop(one)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [Server.kill, Server.stop], ids=["killed", "stopped"])
def test_a_server_that_goes_and_comes_back_is_followed_again(
    stand: Stand, new_pair: NewPair, ending: Callable[[Server], object]
) -> None:
    stand.push(1)
    clients = stand.followed(new_pair)
    all_have(clients, "n", 1)
    ending(stand.server)
    for client in clients:
        await_transport(client, "")
        assert client.reading["n"] == 1
    stand.push(2)
    stand.server.start()
    all_have(clients, "n", 2)
    for client in clients:
        await_transport(client, "websocket")
        assert not client.reading.stale


@pytest.mark.slow
def test_with_redis_down_a_push_still_arrives(stand: Stand, new_pair: NewPair) -> None:
    clients = stand.followed(new_pair)
    stand.valkey.stop()
    stand.push(3)
    all_have(clients, "n", 3)
    stand.valkey.start()
    stand.push(4)
    all_have(clients, "n", 4)


@pytest.mark.slow
def test_a_token_that_expires_in_a_stream_without_another_is_replaced_at_the_next(
    shop: Shop, new_pair: NewPair
) -> None:
    """The server ends the stream (4401); what the source gives then is used."""
    service = shop.new_service("n: 1\n")
    given: list[tuple[float, str]] = []  # until when, and the token
    following = threading.Event()

    def source() -> str:
        if not given or (given[-1][0] < time.time() and not following.is_set()):  # a busy machine: once more
            given.append((time.time() + 3, shop.token(service, lifetime=4)))
        return given[-1][1]

    clients = new_pair(**shop.arguments(service, auth_token=source))
    followed(clients)
    following.set()
    for client in clients:
        await_transport(client, "")
    given.append((time.time() + 3600, shop.token(service)))
    shop.change(service, "n: 2\n")
    all_have(clients, "n", 2)
    for client in clients:
        await_transport(client, "websocket")


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_a_half_open_connection_is_noticed_by_its_silence(restless: Shop, new_pair: NewPair, transport: str) -> None:
    service = restless.new_service("n: 1\n")
    with FaultProxy(restless.port) as proxy:
        clients = new_pair(**restless.arguments(service, config_server_url=proxy.url, transports=[transport]))
        followed(clients, transport)
        proxy.unplug()
        restless.change(service, "n: 2\n")
        for client in clients:
            await_transport(client, "")
            assert client.reading["n"] == 1
        proxy.plug()
        all_have(clients, "n", 2)


def test_a_document_or_patch_that_is_damaged_on_its_way_is_never_taken(
    shop: Shop, proxy: FaultProxy, new_pair: NewPair
) -> None:
    long = "".join(f"key{n}: some text that makes the document long\n" for n in range(40))
    service = shop.new_service(long + "pool: 1111\n")
    seen: list[str] = []
    arguments = shop.arguments(service, config_server_url=proxy.url, on_event=lambda name, _fields: seen.append(name))
    clients = new_pair(**arguments)
    followed(clients)
    proxy.down.altered = {b"2222": b"6666"}
    shop.change(service, long + "pool: 2222\n")
    eventually(lambda: seen.count("mismatch") >= len(clients))
    assert [client.reading["pool"] for client in clients] == [1111, 1111]
    proxy.down.altered = {}
    all_have(clients, "pool", 2222)


def test_where_streams_do_not_get_through_it_falls_down_to_polling_and_climbs_up_again(
    shop: Shop, proxy: FaultProxy, new_pair: NewPair
) -> None:
    """As behind a proxy that knows neither: their paths are spelled wrong on the way."""
    service = shop.new_service("n: 1\n")
    proxy.up.altered = {b"/v1/stream": b"/v1/nothin"}
    clients = new_pair(**shop.arguments(service, config_server_url=proxy.url))
    followed(clients, "sse")
    proxy.up.altered = {b"/v1/stream": b"/v1/nothin", b"/v1/events": b"/v1/nothin"}
    proxy.cut()
    for client in clients:
        await_transport(client, "long-poll")
    shop.change(service, "n: 2\n")
    all_have(clients, "n", 2)
    proxy.up.altered = {}
    for client in clients:
        await_transport(client, "websocket")
    shop.change(service, "n: 3\n")
    all_have(clients, "n", 3)


@pytest.mark.slow
def test_long_polling_and_polling_carry_changes_where_nothing_else_does(
    shop: Shop, proxy: FaultProxy, new_pair: NewPair
) -> None:
    service = shop.new_service("n: 1\n")
    proxy.up.altered = {b"/v1/stream": b"/v1/nothin"}
    no_climb = replace(FAST, climb=300, climb_most=300)
    long_poll = new_pair(
        **shop.arguments(service, config_server_url=proxy.url, transports=["websocket", "long-poll"], timings=no_climb)
    )
    polling = new_pair(
        **shop.arguments(service, config_server_url=proxy.url, transports=["websocket", "poll"], timings=no_climb)
    )
    followed(long_poll, "long-poll")
    followed(polling, "poll")
    shop.change(service, "n: 2\n")
    all_have([*long_poll, *polling], "n", 2)


def test_a_connection_in_pieces_and_cut_again_and_again_ends_with_the_newest(
    shop: Shop, proxy: FaultProxy, new_pair: NewPair
) -> None:
    service = shop.new_service("n: 0\n")
    clients = new_pair(**shop.arguments(service, config_server_url=proxy.url))
    followed(clients)
    proxy.down.piece, proxy.down.torn = 40, True
    for number in range(1, 5):
        proxy.down.cut_after(100 * number)
        shop.change(service, f"n: {number}\n")
    all_have(clients, "n", 4)


@pytest.mark.slow
def test_two_hundred_clients_that_lose_their_server_at_once_come_back_spread(shop: Shop) -> None:
    service = shop.new_service("n: 1\n")
    count, pauses, back = 200, [], []
    timings = replace(Timings(), connect=60.0)  # so long may they take who all knock at once

    def hook(name: str, fields: Any) -> None:
        if name == "disconnected":
            pauses.append(fields["again_in"])
        elif name == "connected":
            back.append(time.monotonic())

    async def all_there() -> float:
        """How long that takes."""
        began = time.monotonic()
        async with asyncio.timeout(50):
            while len(back) < count:
                await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def main(proxy: FaultProxy) -> tuple[float, float]:
        arguments = shop.arguments(service, config_server_url=proxy.url, timings=timings, on_event=hook)
        clients = [ConfigClient(**arguments) for _ in range(count)]
        began = time.monotonic()
        for client in clients:
            await client.start_listening()
        await all_there()
        first = time.monotonic() - began
        back.clear()
        proxy.cut()
        again = await all_there()
        for client in clients:
            await client.close()
        return first, again

    with FaultProxy(shop.port) as proxy:
        first, again = asyncio.run(main(proxy))
    tenths = Counter(int(pause * 10) for pause in pauses)
    shown = f"{sorted(tenths.items())}, there after {first:.2f} s, and again after {again:.2f} s"
    assert len(pauses) >= count
    assert set(range(10)) <= set(tenths), shown
    assert max(tenths.values()) < count / 4, shown
    assert again < max(10, 3 * first), shown
