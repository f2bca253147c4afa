"""Valkey stopped, hung, emptied or put back to an old copy: nobody is refused, and everybody ends at the head."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import pytest

from devstack.server import Server
from devstack.valkey import Valkey
from tests.cluster.clients import Client, arrived, ask, bearer, everywhere, in_shared_epoch
from tests.cluster.conftest import NewStack
from tests.cluster.promises import best, last
from tests.cluster.stack import Stack
from tests.support import eventually

Backup = bytes


@pytest.fixture(scope="module")
def alone(new_stack: NewStack) -> Iterator[tuple[Stack, Server]]:
    """A stack with a Valkey of its own, and a server that polls every second."""
    stack = new_stack(valkey=None)
    stack.origin.write({"pay.yml": "n: 0\n"})
    server = stack.server(POLL_SECONDS="1").start()
    yield stack, server
    stack.close()


def with_all_it_held(valkey: Valkey, _backup: Backup) -> None:
    valkey.start()


def emptied(valkey: Valkey, _backup: Backup) -> None:
    valkey.restart(empty=True)


def put_back_to_an_old_copy(valkey: Valkey, backup: Backup) -> None:
    valkey.restore(backup)


def redis_of(server: Server) -> set[str]:
    """What the workers say of Redis in /health."""
    return {ask(server, "/health").json()["parts"]["redis"]["status"] for _ in range(6)}


@pytest.mark.slow
@pytest.mark.parametrize("comes_back", [with_all_it_held, emptied, put_back_to_an_old_copy])
def test_without_valkey_reads_go_on_and_a_push_arrives_and_when_it_is_back_all_end_at_the_head(
    alone: tuple[Stack, Server], comes_back: Callable[[Valkey, Backup], None]
) -> None:
    stack, server = alone
    token = stack.token("pay")
    name = comes_back.__name__
    backup = stack.valkey.save()
    for number in range(2):  # so that the copy is an old one
        stack.origin.write({"pay.yml": f"{name}: {number}\n"})
        stack.refresh(server)
    workers = set(server.workers)
    with everywhere(server, token, "pay/prod") as clients:
        assert best(lambda: recovery(stack, server, clients, lambda: comes_back(stack.valkey, backup)), 5) < 5
    assert set(server.workers) == workers


def recovery(stack: Stack, server: Server, clients: Sequence[Client], come_back: Callable[[], None]) -> float:
    """Valkey goes, and comes back; how long after that the last client is at the head, in seconds."""
    token = stack.token("pay")
    drawn = time.time_ns()
    shared_epoch = ask(server, "/v1/config/pay/prod", token).headers["X-Config-Rev"].rpartition(".")[0]
    stack.valkey.save()
    stack.valkey.stop()
    answer = ask(server, "/v1/config/pay/prod", token)
    assert answer.status_code == 200
    for _ in range(6):
        again = ask(server, "/v1/config/pay/prod", token, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304
    eventually(lambda: redis_of(server) == {"degraded"})
    version = stack.origin.write({"pay.yml": f"{drawn}: while it is away\n"})
    held = arrived(clients, version)
    assert len({each.etag for each in held}) == 1
    assert {each.rev.rpartition(".")[0] for each in held} & {shared_epoch} == set()
    stack.origin.write({"pay.yml": f"{drawn}: just before\n"})
    come_back()
    back = time.monotonic()
    head = stack.origin.write({"pay.yml": f"{drawn}: just after\n"})
    took = last(arrived(clients, head, timeout=30), back)
    eventually(lambda: redis_of(server) == {"ok"} and in_shared_epoch(server), timeout=40)
    head = stack.origin.write({"pay.yml": f"{drawn}: at last\n"})
    stack.refresh(server)
    held = arrived(clients, head)
    assert len({(each.etag, each.rev) for each in held}) == 1
    assert not held[0].rev.startswith("0-")
    return took


@pytest.mark.slow
def test_a_valkey_that_hangs_holds_up_no_request(alone: tuple[Stack, Server]) -> None:
    stack, server = alone
    token = stack.token("pay")
    stack.bao.put("services/cold/prod/db", {"password": "p"})
    requests: list[tuple[str, str, dict[str, str]]] = [
        ("GET", "/v1/config/pay/prod", bearer(token)),
        ("GET", "/v1/config/pay/another", bearer(token)),  # in no cache yet
        ("GET", "/v1/config/cold/prod", bearer(stack.admin)),  # nor is its secret
        ("GET", "/health", {}),
        ("GET", "/health/ready", {}),
        ("GET", "/metrics", {}),
        ("POST", "/v1/admin/refresh", bearer(stack.admin)),
    ]
    stack.origin.write({"cold.yml": "p: ${vault:kv/services/cold/prod/db#password}\n"})
    stack.refresh(server)
    stack.valkey.pause()
    try:
        took: dict[str, list[float]] = {path: [] for _, path, _ in requests}
        for _ in range(3):
            for method, path, headers in requests:
                asked = time.monotonic()
                answer = ask(server, path, None, method, headers=headers)
                took[path].append(time.monotonic() - asked)
                assert answer.status_code in (200, 202), (path, answer.text)
        assert all(median(each) < 1.5 for each in took.values()), took
        assert max(map(max, took.values())) < 10, took  # redis-py's own patience would be a minute
        assert stack.hook(server).status_code == 202
    finally:
        stack.valkey.resume()
    eventually(lambda: redis_of(server) == {"ok"})
