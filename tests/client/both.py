"""Both clients behind one face, so that each test runs with either: the asyncio one lives in a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, Protocol, TypeVar

from config_client import Change, ConfigClient, Snapshot, SyncConfigClient
from config_client.reading import Reading

T = TypeVar("T")


class Client(Protocol):
    """What a test does with a client; `reading` is what both share."""

    reading: Reading

    def fetch(self) -> Snapshot: ...

    def listen(self) -> None: ...

    def changes(self) -> Iterator[Change]: ...

    def close(self) -> None: ...


class OnThreads:
    """SyncConfigClient."""

    def __init__(self, **arguments: Any) -> None:
        self.reading: Reading
        self._client = self.reading = SyncConfigClient(**arguments)

    def fetch(self) -> Snapshot:
        return self._client.fetch_initial_config()

    def listen(self) -> None:
        self._client.start_listening()

    def changes(self) -> Iterator[Change]:
        return self._client.changes()

    def close(self) -> None:
        self._client.close()


class OnALoop:
    """ConfigClient, in an event loop on a thread."""

    def __init__(self, **arguments: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.reading: Reading
        self._client = self.reading = self._run(self._made(arguments))

    def fetch(self) -> Snapshot:
        return self._run(self._client.fetch_initial_config())

    def listen(self) -> None:
        self._run(self._client.start_listening())

    def changes(self) -> Iterator[Change]:
        return self._each(self._run(self._followed()))

    def _each(self, followed: Any) -> Iterator[Change]:
        while True:
            try:
                yield self._run(_next(followed))
            except StopAsyncIteration:
                return

    def close(self) -> None:
        if not self._loop.is_closed():
            self._run(self._client.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _made(self, arguments: dict[str, Any]) -> ConfigClient:
        return ConfigClient(**arguments)

    async def _followed(self) -> Any:
        return self._client.changes()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(90)


async def _next(followed: Any) -> Any:
    return await anext(followed)


BOTH: dict[str, type[OnThreads] | type[OnALoop]] = {"asyncio": OnALoop, "threads": OnThreads}
