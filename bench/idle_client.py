"""Idle clients in a process of their own: python -m bench.idle_client KIND URL SERVICE TOKEN CLIENTS SECONDS.

KIND is `asyncio` or `threads` for the library, `bare-asyncio` or `bare-threads` for plain connections of `websockets`
that subscribe and listen.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import psutil
import websockets.sync.client
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

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


class OnLoop(Protocol):
    """What is measured on an event loop; `transport` is None until it is connected."""

    @property
    def transport(self) -> str | None: ...

    async def start_listening(self) -> object: ...

    async def close(self) -> object: ...


class OnThread(Protocol):
    """The same with threads."""

    @property
    def transport(self) -> str | None: ...

    def start_listening(self) -> object: ...

    def close(self) -> object: ...


def _wire(url: str, service: str, token: str) -> tuple[dict[str, Any], str]:
    """How a plain connection is opened, and what it says first."""
    address = {"uri": f"ws{url.removeprefix('http')}/v1/stream", "subprotocols": [Subprotocol("cfg.v1")]}
    subscribe = {"type": "subscribe", "topics": [{"name": f"{service}/prod"}]}
    return {**address, "additional_headers": {"Authorization": f"Bearer {token}"}}, json.dumps(subscribe)


class BareOnLoop:
    """A plain connection on the event loop."""

    def __init__(self, url: str, service: str, token: str) -> None:
        self._how, self._subscribe = _wire(url, service, token)
        self.transport: str | None = None

    async def start_listening(self) -> None:
        self._connection = await connect(**self._how)
        await self._connection.send(self._subscribe)
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for _ in self._connection:
            self.transport = "bare"

    async def close(self) -> None:
        await self._connection.close()
        await self._listening


class BareOnThread:
    """A plain connection with a thread that listens."""

    def __init__(self, url: str, service: str, token: str) -> None:
        self._how, self._subscribe = _wire(url, service, token)
        self.transport: str | None = None

    def start_listening(self) -> None:
        self._connection = websockets.sync.client.connect(**self._how)
        self._connection.send(self._subscribe)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        for _ in self._connection:
            self.transport = "bare"

    def close(self) -> None:
        self._connection.close()
        self._thread.join()


async def on_a_loop(new: Callable[[], OnLoop], clients: int, seconds: float) -> str:
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


async def _connected(clients: list[OnLoop]) -> None:
    while not all(client.transport for client in clients):
        await asyncio.sleep(0.1)


def on_threads(new: Callable[[], OnThread], clients: int, seconds: float) -> str:
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
    loops: dict[str, Callable[[], OnLoop]] = {
        "asyncio": lambda: ConfigClient(url, service, "prod", token),
        "bare-asyncio": partial(BareOnLoop, url, service, token),
    }
    threads: dict[str, Callable[[], OnThread]] = {
        "threads": lambda: SyncConfigClient(url, service, "prod", token),
        "bare-threads": partial(BareOnThread, url, service, token),
    }
    if kind in loops:
        sys.stdout.write(asyncio.run(on_a_loop(loops[kind], int(clients), float(seconds))))
    else:
        sys.stdout.write(on_threads(threads[kind], int(clients), float(seconds)))


if __name__ == "__main__":
    main(*sys.argv[1:])
