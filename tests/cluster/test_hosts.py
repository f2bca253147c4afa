"""Two hosts, each with its own mirror and workers, over one Valkey: a word to one of them is enough for both."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from devstack.bao import Bao
from devstack.server import Server
from tests.cluster.clients import Client, Held, arrived, ask, data_of, everywhere
from tests.cluster.conftest import NewStack
from tests.cluster.promises import last
from tests.cluster.stack import PATIENT, Stack
from tests.engine.vault_proxy import VaultProxy, running_proxy
from tests.support import eventually

#: Of what a host has written down, that in which they may not differ.
NOTED = ("epoch", "seq", "labels", "default_label")


@pytest.fixture(scope="module")
def vault(bao: Bao) -> Iterator[VaultProxy]:
    with running_proxy(bao) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def hosts(new_stack: NewStack, vault: VaultProxy) -> tuple[Stack, Server, Server]:
    stack = new_stack()
    stack.origin.write({"pay.yml": "n: 0\n"})
    first, second = (stack.server(application=PATIENT, VAULT_ADDR=vault.address) for _ in range(2))
    return stack, first.start(until=None), second.start()


@contextmanager
def on_both(hosts: tuple[Stack, Server, Server]) -> Iterator[list[Client]]:
    stack, *servers = hosts
    token = stack.token("pay")
    eventually(lambda: all(ask(server, "/health/ready").status_code == 200 for server in servers), timeout=60)
    with everywhere(servers[0], token, "pay/prod") as here, everywhere(servers[1], token, "pay/prod") as there:
        yield [*here, *there]


def cursor_of(server: Server) -> dict[str, Any]:
    """What the host's heads.json says of all labels."""
    state = json.loads((data_of(server) / "heads.json").read_text())
    cursor: dict[str, Any] = json.loads(state["cursor"])
    return cursor


def agreed(stack: Stack, *servers: Server) -> None:
    """All workers of all hosts answer alike, and the hosts have written down the same."""
    for server in servers:  # what another host or a rotation has announced is written down with the next fetch
        stack.refresh(server)
    token = stack.token("pay")

    def alike() -> bool:
        answers = [ask(server, "/v1/config/pay/prod", token) for server in servers for _ in range(5)]
        told = {(each.json()["etag"], each.json()["version"], each.headers["X-Config-Rev"]) for each in answers}
        first, second = ({name: each[name] for name in NOTED} for each in map(cursor_of, servers))
        return len(told) == 1 and first == second

    eventually(alike)


@pytest.mark.slow
def test_a_webhook_to_one_host_reaches_the_clients_of_both(hosts: tuple[Stack, Server, Server]) -> None:
    stack, first, second = hosts
    waits: list[float] = []
    with on_both(hosts) as clients:
        for number, told in ((1, first), (2, second), (3, first), (4, second)):
            version = stack.origin.write({"pay.yml": f"n: {number}\n"})
            stack.hook(told)
            answered = time.monotonic()
            held = arrived(clients, version)
            waits.append(last(held, answered))
            assert len({(each.etag, each.rev) for each in held}) == 1
            agreed(stack, first, second)
    assert max(min(waits[::2]), min(waits[1::2])) < 1.5


@pytest.mark.slow
def test_pushes_that_race_end_with_both_hosts_at_the_last_one(hosts: tuple[Stack, Server, Server]) -> None:
    stack, first, second = hosts
    with on_both(hosts) as clients:
        stop = threading.Event()

        def hook_on(server: Server) -> None:
            while not stop.is_set():
                stack.hook(server)
                stop.wait(0.05)

        callers = [threading.Thread(target=hook_on, args=(server,)) for server in (first, second)]
        for caller in callers:
            caller.start()
        try:
            for number in range(20):
                version = stack.origin.write({"pay.yml": f"raced: {number}\n"})
        finally:
            stop.set()
            for caller in callers:
                caller.join()
        arrived(clients, version)
        agreed(stack, first, second)


@pytest.mark.slow
def test_a_forced_push_is_followed_by_both_hosts_once_it_is_confirmed(hosts: tuple[Stack, Server, Server]) -> None:
    stack, first, second = hosts
    kept = stack.origin.write({"pay.yml": "forced: kept\n"})
    stack.origin.write({"pay.yml": "forced: thrown away\n"})
    stack.refresh(first)
    with on_both(hosts) as clients:
        pushed = time.monotonic()
        stack.origin.force(kept)
        stack.hook(second)
        held = arrived(clients, kept)
        assert min(each.at for each in held) - pushed > 1.9  # seen twice, two seconds apart
        assert len({(each.etag, each.rev) for each in held}) == 1
        agreed(stack, first, second)
    trails = [data_of(host) / "audit" for host in (first, second)]
    eventually(
        lambda: any('"label.rewritten"' in path.read_text() for trail in trails for path in trail.glob("*.jsonl"))
    )


@pytest.mark.slow
def test_a_rotation_is_seen_by_one_worker_of_each_host_and_reaches_the_clients_of_both_at_one_revision(
    hosts: tuple[Stack, Server, Server], vault: VaultProxy
) -> None:
    stack, first, second = hosts
    path = "services/pay/prod/of-both-hosts"
    stack.bao.put(path, {"password": "first"})
    stack.origin.write({"pay.yml": f"password: ${{vault:kv/{path}#password}}\n"})
    stack.refresh(first)
    with on_both(hosts) as clients:
        stack.bao.put(path, {"password": "second"})
        written = time.monotonic()

        def told() -> list[Held]:
            held = [each for client in clients for each in client.held().values()]
            return held if {each.doc.get("password") for each in held} == {"second"} else []

        held = eventually(told)
        assert max(each.at for each in held) - written < 5  # SECRET_WATCH_SECONDS is 1
        assert len({(each.etag, each.rev) for each in held}) == 1
        agreed(stack, first, second)
        vault.asked.clear()
        began = time.monotonic()
        eventually(lambda: vault.asked_for(f"/metadata/{path}") >= 8)
        assert (
            time.monotonic() - began > 2.5
        )  # one look of each host a second; of each worker it would be twice as many
