"""Idle clients in a process of their own: python -m bench.idle_client KIND URL SERVICE TOKEN CLIENTS SECONDS."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from bench.process import pss_kb
from config_client import ConfigClient, SyncConfigClient


@dataclass(frozen=True, slots=True)
class Moment:
    memory: int
    wakeups: int
    cpu: float

    @classmethod
    def now(cls) -> Moment:
        """Of this process, all its threads."""
        process = psutil.Process()
        times = process.cpu_times()
        wakeups = sum(_switches(thread.id) for thread in process.threads())
        return cls(pss_kb(os.getpid()), wakeups, times.user + times.system)


def _switches(thread: int) -> int:
    with open(f"/proc/self/task/{thread}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt_switches"))


def told(empty: Moment, before: Moment, after: Moment, clients: int, seconds: float) -> str:
    minutes = seconds / 60
    return json.dumps(
        {
            "memory": (before.memory - empty.memory) / clients,
            "wakeups": (after.wakeups - before.wakeups) / minutes,
            "cpu": 1000 * (after.cpu - before.cpu) / minutes,
        }
    )


async def on_a_loop(new: Callable[[], ConfigClient], clients: int, seconds: float) -> str:
    first = new()
    await first.start_listening()
    await _connected([first])
    empty = Moment.now()
    made = [new() for _ in range(clients - 1)]
    for client in made:
        await client.start_listening()
    await _connected(made)
    before = Moment.now()
    await asyncio.sleep(seconds)
    after = Moment.now()
    for client in [first, *made]:
        await client.close()
    return told(empty, before, after, max(clients - 1, 1), seconds)


async def _connected(clients: list[ConfigClient]) -> None:
    while not all(client.transport for client in clients):
        await asyncio.sleep(0.1)


def on_threads(new: Callable[[], SyncConfigClient], clients: int, seconds: float) -> str:
    first = new()
    first.start_listening()
    empty = Moment.now()
    made = [new() for _ in range(clients - 1)]
    for client in made:
        client.start_listening()
    while not all(client.transport for client in [first, *made]):
        time.sleep(0.1)
    before = Moment.now()
    time.sleep(seconds)
    after = Moment.now()
    for client in [first, *made]:
        client.close()
    return told(empty, before, after, max(clients - 1, 1), seconds)


def main(kind: str, url: str, service: str, token: str, clients: str, seconds: str) -> None:
    if kind == "asyncio":
        work = on_a_loop(lambda: ConfigClient(url, service, "prod", token), int(clients), float(seconds))
        sys.stdout.write(asyncio.run(work))
    else:
        sys.stdout.write(
            on_threads(lambda: SyncConfigClient(url, service, "prod", token), int(clients), float(seconds))
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
