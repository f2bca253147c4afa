"""What time does to a stream: it beats, grows old, and lives no longer than its token and its grants."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from statistics import quantiles
from typing import Any, TypeAlias

import pytest

from devstack.server import Server
from tests.cluster.clients import EventClient, WebSocketClient, arrived, ask, on_each_worker
from tests.cluster.conftest import NewStack
from tests.cluster.leftovers import quiet, streams_open
from tests.cluster.promises import best
from tests.cluster.rawsocket import RawSocket
from tests.cluster.stack import Stack, timed
from tests.support import eventually

#: In seconds: how old a stream grows, how long a token lives, and how long before its end a client is warned.
AGE, LIFE, WARNING = 8, 6, 4
Stream: TypeAlias = WebSocketClient | EventClient
Of: TypeAlias = dict[str, str | None]
PAY: Of = {"pay/prod": None}


@pytest.fixture(scope="module")
def servers(new_stack: NewStack) -> tuple[Stack, Server, Server]:
    """Two of one worker, whose heartbeat is a second. Only streams of the second one grow old within these tests."""
    stack = new_stack()
    stack.origin.write({"pay.yml": "n: 0\n", "shop.yml": "n: 0\n"})
    made = [
        stack.server(application=timed(heartbeat=1, redis=10, **more), WORKERS="1", NAMESPACE=name)
        for name, more in (("beating", {"expiry_warning": WARNING}), ("ageing", {"stream_age": AGE}))
    ]
    with ThreadPoolExecutor(2) as pool:
        beating, ageing = pool.map(Server.start, made)
    return stack, beating, ageing


@pytest.fixture
def beating(servers: tuple[Stack, Server, Server]) -> tuple[Stack, Server]:
    return servers[0], servers[1]


@pytest.fixture
def ageing(servers: tuple[Stack, Server, Server]) -> tuple[Stack, Server]:
    return servers[0], servers[2]


@contextlib.contextmanager
def streams(server: Server, token: str, topics: Of = PAY, *, each: int = 1) -> Iterator[list[Stream]]:
    """As many WebSockets and event streams, which hold something already."""
    with contextlib.ExitStack() as closing:
        opened: list[Stream] = []
        for kind in (WebSocketClient, EventClient) * each:
            client: Stream = kind(server, token, topics)
            closing.callback(client.close)
            opened.append(client)
        eventually(lambda: all(client.held() for client in opened))
        yield opened
        for client in opened:
            client.check()


def times(client: Stream, kind: str) -> list[float]:
    return [at for at, frame in client.told.frames if frame["type"] == kind]


def beats(client: Stream) -> list[datetime]:
    """By the server's clock, from the first `sync` after a subscription on."""
    subscribed = itertools.dropwhile(lambda told: told[1]["type"] != "subscribed", list(client.told.frames))
    return [datetime.fromisoformat(frame["ts"]) for _, frame in subscribed if frame["type"] == "sync"]


def goodbyes(clients: Sequence[Stream], code: int) -> list[float]:
    """When each was told goodbye with this code, as its last frame; then it was closed with it, and all is over."""
    for client in clients:
        frame = client.told.frames[-1][1]
        assert (frame["type"], frame["code"]) == ("goodbye", code)
        assert frame["retry_ms"] > 0
        assert len(client.told.of("goodbye")) == 1
        if isinstance(client, WebSocketClient):
            assert client.code == code
    return [client.told.frames[-1][0] for client in clients]


@pytest.mark.slow
def test_an_idle_stream_beats_as_it_said_give_or_take_a_tenth(beating: tuple[Stack, Server]) -> None:
    stack, server = beating

    def pace() -> float:
        """The usual pause, and what most are below, by the server's clock: a busy client hears of some together."""
        with streams(server, stack.token("pay"), each=3) as clients:
            eventually(lambda: all(len(beats(client)) >= 6 for client in clients), timeout=40)
            told = [beats(client) for client in clients]
            assert {client.told.of("hello")[0]["hb_ms"] for client in clients} == {1000}
            assert all(len(client.told.of("change")) == 1 for client in clients)
        pauses = [(later - earlier).total_seconds() for each in told for earlier, later in itertools.pairwise(each)]
        assert min(pauses) > 0.8, "one tenth less, and beats of one moment tell one time"
        lower, middle, upper = quantiles(pauses, n=4)
        assert upper - lower > 0.02, "not all together"
        return max(middle, upper - 0.15)

    assert best(pace, 1.15) < 1.15


@pytest.mark.slow
def test_a_stream_that_has_its_age_is_asked_to_come_again_each_in_its_moment(ageing: tuple[Stack, Server]) -> None:
    stack, server = ageing

    def lateness() -> float:
        began = time.monotonic()
        with streams(server, stack.token("pay"), each=5) as clients:
            opened = time.monotonic()
            eventually(lambda: all(client.ended for client in clients), timeout=3 * AGE)
            ends = goodbyes(clients, 1012)
        assert min(ends) >= began + 0.8 * AGE
        assert max(ends) - min(ends) > 0.1
        return max(ends) - (opened + AGE)

    assert best(lateness, 0.5) < 0.5
    eventually(lambda: streams_open(server) == 0)
    quiet(server)


@pytest.mark.slow
def test_a_stream_is_warned_before_its_token_ends_and_ends_with_it(beating: tuple[Stack, Server]) -> None:
    stack, server = beating

    def lateness() -> float:
        """Of the worst of both streams, never before the time: its warning, what that says, and its end."""
        expires = int(time.time()) + LIFE
        with streams(server, stack.issuer.token(sub="pay", scope="config:read", service="pay", exp=expires)) as clients:
            ends = time.monotonic() + expires - time.time()
            eventually(lambda: all(client.ended for client in clients))
            late: list[float] = []
            for client in clients:
                (warned,), (warning,) = times(client, "auth_expiring"), client.told.of("auth_expiring")
                assert 0 < warning["in_ms"] <= 1000 * WARNING
                late += [warned + warning["in_ms"] / 1000 - ends, warned - (ends - WARNING)]
            late += [at - ends for at in goodbyes(clients, 4401)]
        assert min(late) > -0.05
        return max(late)

    assert best(lateness, 0.5) < 0.5
    quiet(server)


@pytest.mark.slow
def test_a_new_token_in_band_carries_a_stream_over_the_end_of_the_old_one(beating: tuple[Stack, Server]) -> None:
    stack, server = beating
    with streams(server, stack.issuer.token(sub="pay", scope="config:read", service="pay", lifetime=LIFE)) as clients:
        renewed, other = clients
        assert isinstance(renewed, WebSocketClient)
        eventually(lambda: renewed.told.of("auth_expiring"))
        renewed.send({"type": "auth", "token": stack.token("pay")})
        eventually(lambda: other.ended)
        beats = len(renewed.told.of("sync"))
        eventually(lambda: len(renewed.told.of("sync")) > beats + 1)
        assert not renewed.ended
        assert len(renewed.told.of("auth_expiring")) == 1
        arrived([renewed], push(stack, server, {"pay.yml": "renewed: true\n"}))


@pytest.mark.slow
def test_a_grant_that_a_new_token_lacks_is_taken_at_once_and_the_last_one_takes_the_stream(
    beating: tuple[Stack, Server],
) -> None:
    stack, server = beating

    def token(*services: str) -> str:
        return stack.issuer.token(sub="both", scope=" ".join(f"config:read:{each}" for each in services) or "openid")

    topics: Of = {"pay/prod": None, "shop/prod": None}
    with contextlib.closing(WebSocketClient(server, token("pay", "shop"), topics)) as client:
        eventually(lambda: len(client.held()) == 2)
        client.send({"type": "auth", "token": token("pay")})
        (error,) = eventually(lambda: client.told.of("error"))
        assert error == {"type": "error", "code": "forbidden", "topic": "shop/prod/main", "retry": False}
        before = len(client.told.of("change"))
        version = push(stack, server, {"pay.yml": "narrower: true\n", "shop.yml": "narrower: true\n"})
        eventually(lambda: client.held()["pay/prod/main"].version == version)
        assert [change["topic"] for change in client.told.of("change")[before:]] == ["pay/prod/main"]
        client.send({"type": "auth", "token": token()})
        eventually(lambda: client.ended)
        goodbyes([client], 4403)
    quiet(server)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sub", "jti"])
def test_a_revocation_ends_the_streams_of_all_workers_within_five_seconds(
    shared: Stack, duo: Server, kind: str
) -> None:
    push(shared, duo, {"left.yml": f"{kind}: 0\n"})
    value = f"leaver by {kind}"
    claims: dict[str, Any] = {"scope": "config:read", "service": "left"}
    token = shared.issuer.token(**{**claims, "sub": value, "jti": value})
    stays = shared.issuer.token(**{**claims, "sub": "stays"})
    with contextlib.ExitStack() as open_ones:

        def everywhere(kind: Callable[[], Stream]) -> list[Stream]:
            return open_ones.enter_context(on_each_worker(duo, kind))

        leavers = [
            *everywhere(lambda: WebSocketClient(duo, token, {"left/prod": None})),
            *everywhere(lambda: EventClient(duo, token, {"left/prod": None})),
        ]
        others = everywhere(lambda: WebSocketClient(duo, stays, {"left/prod": None}))
        body = {"kind": kind, "value": value}
        asked = time.monotonic()
        assert ask(duo, "/v1/admin/revocations", shared.admin, "POST", json=body).status_code == 204
        eventually(lambda: all(client.ended for client in leavers), timeout=15)
        assert max(goodbyes(leavers, 4401)) - asked < 5
        for _ in range(8):  # of both workers, most likely
            with RawSocket(duo, token) as refused:
                assert refused.status == 401
        arrived(others, push(shared, duo, {"left.yml": f"{kind}: 1\n"}))


def push(stack: Stack, server: Server, files: dict[str, str | bytes | None]) -> str:
    version = stack.origin.write(files)
    stack.refresh(server)
    return version
