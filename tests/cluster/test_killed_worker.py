"""A worker that is killed takes nothing with it: another pulls, counts stand, and what it wrote can be proven."""

from __future__ import annotations

import time
from functools import partial
from statistics import median

import pytest

from app.audit import verify_directory
from devstack.server import Server
from tests.cluster.clients import WebSocketClient, arrived, ask, data_of, on_each_worker, puller_of, samples
from tests.cluster.promises import last
from tests.cluster.stack import Stack
from tests.support import eventually


def took_over(server: Server, dead: int) -> bool:
    return puller_of(server) not in (0, dead)


def replaced(server: Server, dead: int) -> bool:
    return len(server.workers) == 2 and dead not in server.workers


def counted(server: Server) -> dict[str, float]:
    """The series that only rise."""
    ends = ("_total", "_count", "_bucket", "_sum")
    return {name: value for name, value in samples(server).items() if name.partition("{")[0].endswith(ends)}


@pytest.mark.slow
def test_when_the_worker_that_pulls_is_killed_another_pulls_and_nothing_counted_is_lost(stack: Stack) -> None:
    stack.bao.put("services/pay/prod/db", {"password": "p"})
    stack.origin.write({"pay.yml": "n: 0\np: ${vault:kv/services/pay/prod/db#password}\n"})
    token = stack.token("pay")
    server = stack.server().start()
    for _ in range(20):
        assert ask(server, "/v1/config/pay/prod", token).status_code == 200
        assert ask(server, "/v1/config/pay/prod").status_code == 401
    pulls: list[float] = []
    waits: list[float] = []
    for number in range(1, 4):
        before = counted(server)
        victim = eventually(lambda: puller_of(server))
        assert victim in server.workers
        killed = time.monotonic()
        server.kill_worker(victim)
        eventually(partial(took_over, server, victim))
        pulls.append(time.monotonic() - killed)
        eventually(partial(replaced, server, victim))
        eventually(lambda: ask(server, "/health/ready").status_code == 200)
        after = counted(server)
        assert {name: (value, after.get(name)) for name, value in before.items() if after.get(name, 0) < value} == {}
        with on_each_worker(server, lambda: WebSocketClient(server, token, {"pay/prod": None})) as clients:
            eventually(lambda: all(client.held() for client in clients))
            version = stack.origin.write({"pay.yml": f"n: {number}\np: ${{vault:kv/services/pay/prod/db#password}}\n"})
            stack.refresh(server)
            answered = time.monotonic()
            waits.append(last(arrived(clients, version), answered))
        eventually(lambda: samples(server)['config_server_streams_open{transport="websocket"}'] == 0)
    assert median(pulls) < 3
    assert median(waits) < 1
    assert server.stop() == 0
    assert list((data_of(server) / "mirror").rglob("*.lock")) == []  # while it runs its own come and go
    verdicts = verify_directory(data_of(server) / "audit")
    assert set(verdicts) == {"worker-0.jsonl", "worker-1.jsonl"}
    assert all(verdict.intact and verdict.records for verdict in verdicts.values()), verdicts
