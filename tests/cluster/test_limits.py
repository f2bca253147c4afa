"""How many streams a client may hold, counted by all workers together; and what a worker that dies leaves of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from devstack.server import Server
from tests.cluster.clients import EventClient, Refused, ask
from tests.cluster.conftest import NewStack
from tests.cluster.leftovers import quiet, streams_open
from tests.cluster.rawsocket import RawSocket
from tests.cluster.stack import Stack, timed
from tests.support import eventually

PER_INSTANCE, PER_SUBJECT = 8, 6
#: How long a dead worker's streams count, in seconds.
LEASE = 8  # long enough for a busy machine to renew the others


def limiting(stack: Stack, **seconds: float) -> Server:
    """A server of two workers that takes so many streams of a client."""
    stack.origin.write({"pay.yml": "n: 0\n"})
    limits = {"STREAMS_PER_INSTANCE": str(PER_INSTANCE), "STREAMS_PER_SUBJECT": str(PER_SUBJECT)}
    return stack.server(application=timed(heartbeat=1, redis=10, **seconds), **limits).start()


@pytest.fixture(scope="module")
def limited(new_stack: NewStack) -> Iterator[tuple[Stack, Server]]:
    """No lease ends by itself within a test."""
    stack = new_stack()
    yield stack, limiting(stack)
    stack.close()


class Crowd:
    """Clients of one instance or subject, that open streams of both kinds until they are refused."""

    def __init__(self, server: Server, token: Callable[[], str], instance: str | None = None) -> None:
        self._server, self._token = server, token
        self._headers: dict[str, str] = {"X-Config-Instance": instance} if instance else {}
        self.open: list[RawSocket | EventClient] = []

    def more(self) -> bool:
        """One stream more. False when it is refused, as it should be refused."""
        status, retry_after = self._events() if len(self.open) % 2 else self._websocket()
        assert status == 429 or not retry_after
        assert status != 429 or int(retry_after) > 0
        return status != 429

    def fill(self) -> int:
        while self.more():
            pass
        return len(self.open)

    def on(self, worker: int) -> list[RawSocket | EventClient]:
        return [each for each in self.open if each.worker == worker]

    def close(self) -> None:
        for client in self.open:
            client.close()
        self.open.clear()

    def _websocket(self) -> tuple[int, str]:
        client = RawSocket(self._server, self._token(), self._headers)
        if client.status == 101:
            self.open.append(client)
        else:
            client.close()
        return client.status, client.headers.get("retry-after", "")

    def _events(self) -> tuple[int, str]:
        try:
            self.open.append(EventClient(self._server, self._token(), {"pay/prod": None}, headers=self._headers))
        except Refused as refused:
            return refused.status, refused.headers.get("Retry-After", "")
        return 200, ""


@contextlib.contextmanager
def crowd(server: Server, limit: int, token: Callable[[], str], instance: str | None = None) -> Iterator[Crowd]:
    """As many as there may be, some of them on each worker."""
    with contextlib.closing(Crowd(server, token, instance)) as made:

        def spread() -> bool:
            made.close()
            eventually(lambda: streams_open(server) == 0)
            assert made.fill() == limit
            return all(made.on(worker) for worker in server.workers)

        eventually(spread, timeout=60)
        yield made


@pytest.mark.slow
def test_the_streams_of_an_instance_are_counted_over_all_workers(limited: tuple[Stack, Server]) -> None:
    """Whoever it says it is by its token."""
    stack, server = limited
    subjects = (stack.issuer.token(sub=f"pay-{number}", scope="config:read", service="pay") for number in count())
    with crowd(server, PER_INSTANCE, lambda: next(subjects), "pay-7f") as held:
        with RawSocket(server, next(subjects), {"X-Config-Instance": "pay-80"}) as other:
            assert other.status == 101
        with RawSocket(server, next(subjects)) as nameless:
            assert nameless.status == 101
        held.open.pop().close()
        eventually(held.more)
        assert not held.more()
        assert ask(server, "/v1/config/pay/prod", next(subjects)).status_code == 200
    quiet(server)


@pytest.mark.slow
def test_the_streams_of_a_subject_are_counted_over_all_workers(limited: tuple[Stack, Server]) -> None:
    stack, server = limited
    with crowd(server, PER_SUBJECT, lambda: stack.token("pay")) as held:
        with RawSocket(server, stack.issuer.token(sub="other", scope="config:read", service="pay")) as other:
            assert other.status == 101
        held.open.pop(0).close()
        eventually(held.more)
        assert not held.more()
    quiet(server)


@pytest.mark.slow
def test_what_a_killed_worker_held_is_free_soon_and_what_the_other_holds_is_not(stack: Stack) -> None:
    server = limiting(stack, lease=LEASE)
    with crowd(server, PER_SUBJECT, lambda: stack.token("pay")) as held:
        victim = server.workers[0]
        gone = held.on(victim)
        server.kill_worker(victim)
        held.open = [each for each in held.open if each not in gone]
        killed = time.monotonic()
        eventually(lambda: len(server.workers) == 2 and victim not in server.workers, timeout=30)
        eventually(lambda: ask(server, "/health/ready").status_code == 200, timeout=30)
        eventually(held.more, timeout=4 * LEASE)
        assert time.monotonic() - killed < 6 * LEASE
        # Leases end one by one; were those of the other worker not renewed, there would be room for more in the end.
        eventually(lambda: held.fill() >= PER_SUBJECT, timeout=4 * LEASE)
        assert len(held.open) == PER_SUBJECT
        for client in gone:
            client.close()
