"""Stands between a host and Valkey: words of the bus can get lost on it, and it can go away for this host alone."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Self

_WORD = b"$7\r\nmessage\r\n"


class RedisProxy:
    """While `deaf` every word of pub/sub is swallowed, and counted in `lost`; all else passes as it is."""

    def __init__(self, port: int) -> None:
        """`port` is Valkey's, on this machine."""
        self._upstream = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="redis-proxy", daemon=True)
        self._lines: set[asyncio.StreamWriter] = set()
        self._away = False
        self.deaf = False
        self.lost = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1"), self._loop
        ).result(30)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def go_away(self) -> None:
        """Every connection is cut, and new ones are too, until `come_back`."""
        self._away = True
        self._loop.call_soon_threadsafe(self._cut)

    def come_back(self) -> None:
        self._away = False

    def close(self) -> None:
        self._away = True
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        """Every connection is closed when this returns: what were left would be complained of in another test."""
        self._server.close()
        self._cut()
        if serving := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(serving, timeout=20)
        await asyncio.sleep(0)  # the loop closes the last socket in its next round

    def _cut(self) -> None:
        for line in self._lines:
            line.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines.add(writer)
        with contextlib.suppress(OSError):
            if not self._away:
                there, back = await asyncio.open_connection("127.0.0.1", self._upstream)
                self._lines.add(back)
                pumps = [self._pump(reader, back), self._answers(there, writer)]
                await asyncio.wait([asyncio.ensure_future(each) for each in pumps], return_when=asyncio.FIRST_COMPLETED)
                back.transport.abort()
                self._lines.discard(back)
        writer.transport.abort()
        self._lines.discard(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """From Valkey to the host, value by value, without the words while it is deaf."""
        rest = b""
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                rest += data
                while (end := end_of_value(rest)) is not None:
                    value, rest = rest[:end], rest[end:]
                    if self.deaf and _WORD in value[:32]:
                        self.lost += 1
                    else:
                        writer.write(value)


def end_of_value(data: bytes, start: int = 0) -> int | None:
    """Where the value of RESP that begins at `start` ends; None while it is not all there (Redis protocol, RESP3)."""
    line = data.find(b"\r\n", start)
    if line < 0:
        return None
    kind, end = data[start : start + 1], line + 2
    if kind in b"$=!":
        size = int(data[start + 1 : line])
        end += size + 2 if size >= 0 else 0
        return end if len(data) >= end else None
    if kind in b"*>~%|":
        for _ in range(int(data[start + 1 : line]) * (2 if kind in b"%|" else 1)):
            found = end_of_value(data, end)
            if found is None:
                return None
            end = found
    return end
