"""Further repositories on two hosts of two workers: a push reaches who reads it, whatever is away just then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from devstack.server import Server
from tests.cluster.clients import Client, WebSocketClient, arrived, ask, in_shared_epoch, on_each_worker, puller_of
from tests.cluster.conftest import NewStack
from tests.cluster.promises import last
from tests.cluster.stack import PATIENT, Stack
from tests.further.several import Several
from tests.support import eventually


class Estate:
    """Two hosts over a configuration repository and two further ones, with a Valkey of their own."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        stack.origin.write({"application.yml": "log: main\n", "shop.yml": "n: 0\n"})
        several = Several(stack.directory)
        self.pay = several.add("pay", {"pay.yml": "n: 0\n"}, patterns=["pay*", "both"], poll_seconds=1)
        self.other = several.add("other", {"application.yml": "o: 0\n"}, patterns=["both"], poll_seconds=1)
        settings = {"REPOSITORIES_FILE": str(several.file), "POLL_SECONDS": "1"}
        self.hosts = [stack.server(application=PATIENT, **settings) for _ in range(2)]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(Server.start, self.hosts))

    @contextlib.contextmanager
    def clients(self, service: str) -> Iterator[list[Client]]:
        """A stream on each worker of both hosts."""
        token, topic = self.stack.token(service), {f"{service}/prod": None}
        with contextlib.ExitStack() as closing:
            opened = [
                closing.enter_context(on_each_worker(host, partial(WebSocketClient, host, token, topic)))
                for host in self.hosts
            ]
            found: list[Client] = [client for some in opened for client in some]
            eventually(lambda: all(client.held() for client in found))
            yield found

    def answers(self, service: str) -> set[tuple[str, str]]:
        """Version and staleness, as the workers of both hosts tell them."""
        token = self.stack.token(service)
        told = [ask(host, f"/v1/config/{service}/prod", token) for host in self.hosts for _ in range(5)]
        return {(each.json()["version"], each.headers.get("X-Config-Stale", "")) for each in told}


@pytest.fixture(scope="module")
def estate(new_stack: NewStack) -> Iterator[Estate]:
    stack = new_stack(valkey=None)
    made = Estate(stack)
    token = stack.token("both")
    for host in made.hosts:
        eventually(lambda host=host: ask(host, "/v1/config/both/prod", token).status_code == 200)  # type: ignore[misc]
    yield made
    stack.close()


@pytest.mark.slow
def test_a_push_to_a_further_repository_reaches_every_worker_of_both_hosts_and_nobody_else(estate: Estate) -> None:
    with estate.clients("pay") as readers, estate.clients("both") as of_both, estate.clients("shop") as others:
        before = [dict(client.held()) for client in others]
        waits: list[float] = []
        for number, host in enumerate(estate.hosts, 1):
            version = estate.pay.write({"pay.yml": f"n: {number}\n", "both.yml": f"n: {number}\n"})
            estate.stack.hook(host)
            answered = time.monotonic()
            held = arrived(readers, version)
            waits.append(last(held, answered))
            assert len({(each.etag, each.rev) for each in held}) == 1
            assert all(each.doc == {"n": number} for each in held)
            arrived(of_both, f"{version},{estate.other.head}")
        assert min(waits) < 1.5
        version = estate.other.write({"application.yml": "o: 1\n"})
        (told,) = {each.etag for each in arrived(of_both, f"{estate.pay.head},{version}")}
        assert told
        assert [dict(client.held()) for client in others] == before


@pytest.mark.slow
def test_when_the_worker_that_pulls_is_killed_another_pulls_further_repositories_as_well(estate: Estate) -> None:
    host = estate.hosts[0]
    victim = host.kill_worker(puller_of(host))
    eventually(lambda: puller_of(host) not in (0, victim))
    eventually(lambda: len(host.workers) == 2 and set(host.workers) == set(host.installed))
    with estate.clients("pay") as readers:
        arrived(readers, estate.pay.write({"pay.yml": "after: a death\n"}))


@pytest.mark.slow
@pytest.mark.parametrize("empty", [False, True])
def test_without_valkey_and_without_the_main_repository_a_push_to_a_further_one_arrives(
    estate: Estate, *, empty: bool
) -> None:
    stack, away = estate.stack, estate.stack.origin.bare.with_suffix(".away")
    with estate.clients("pay") as readers:
        stack.origin.bare.rename(away)
        eventually(lambda: all(stale.startswith("git") for _, stale in estate.answers("shop")))
        stack.valkey.save()
        stack.valkey.stop()
        version = estate.pay.write({"pay.yml": f"away: {empty}\n"})
        arrived(readers, version)
        assert estate.answers("pay") == {(version, "")}  # what the main repository lacks is no matter of theirs
        if empty:
            stack.valkey.restart(empty=True)
        else:
            stack.valkey.start()
        version = estate.pay.write({"pay.yml": f"back: {empty}\n"})
        arrived(readers, version)
        away.rename(stack.origin.bare)
        head = stack.origin.write({"shop.yml": f"back: {empty}\n"})
        eventually(lambda: estate.answers("shop") == {(head, "")})
        eventually(lambda: all(map(in_shared_epoch, estate.hosts)), timeout=40)
        version = estate.pay.write({"pay.yml": f"at last: {empty}\n"})
        held = arrived(readers, version)
        assert not any(each.rev.startswith("0-") for each in held)
        assert len({each.etag for each in held}) == 1


@pytest.mark.slow
def test_hosts_that_cannot_fetch_a_further_repository_go_on_with_the_others(estate: Estate) -> None:
    before = estate.pay.head
    away = estate.pay.bare.with_suffix(".away")
    estate.pay.bare.rename(away)
    try:
        eventually(lambda: all(stale.startswith("git") for _, stale in estate.answers("pay")))
        version = estate.other.write({"application.yml": "o: 2\n"})
        eventually(lambda: {each for each, _ in estate.answers("both")} == {f"{before},{version}"})
        head = estate.stack.origin.write({"shop.yml": "moves: on\n"})
        eventually(lambda: estate.answers("shop") == {(head, "")})
        assert {each for each, _ in estate.answers("pay")} == {before}
    finally:
        away.rename(estate.pay.bare)
    version = estate.pay.write({"pay.yml": "is: back\n"})
    eventually(lambda: estate.answers("pay") == {(version, "")})
