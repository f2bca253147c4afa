"""`ConfigClient`: the asyncio driver. It moves bytes and calls handlers; what to do is the core's."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Self

from config_client import core
from config_client.carriage import (
    SUBPROTOCOL,
    ended,
    failed,
    failures,
    headers,
    refused_events,
    socket_options,
    socket_url,
    verification,
)
from config_client.core.subject import auth
from config_client.errors import ConfigError, ConfigUnavailable, TokenUnavailable
from config_client.reading import Mailbox, Reading, log
from config_client.snapshot import Change, Snapshot
from config_client.sse import EventReader
from config_client.tokens import checked, current, is_blocking

if TYPE_CHECKING:
    import httpx
    from websockets.asyncio.client import ClientConnection


class ConfigClient(Reading):
    """Used from one event loop. `async with` closes it at the end."""

    def _prepare(self) -> None:
        self._events: asyncio.Queue[core.Event] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._links: dict[int, asyncio.Task[None]] = {}
        self._sockets: dict[int, ClientConnection] = {}
        self._used: dict[int, str] = {}  # link -> the token it was opened with
        self._judged: Snapshot | None = None
        self._listener: asyncio.Task[None] | None = None
        self._fetching = asyncio.Lock()
        self._fetched: asyncio.Future[ConfigError | None] | None = None
        self._http: httpx.AsyncClient | None = None
        self._closed = False
        self._actions: Mapping[type, Callable[[Any], None]] = {
            core.OpenSocket: lambda action: self._open(action, self._socket),
            core.OpenEvents: lambda action: self._open(action, self._event_stream),
            core.Send: self._spawned(self._send),
            core.Renew: self._spawned(self._renew),
            core.Close: self._close_link,
            core.Ask: self._spawned(self._ask),
            core.Judge: self._spawned(self._judge),
            core.Install: lambda action: self._install(action.document, self._judged),
            core.Fetched: self._on_fetched,
            core.Note: self._tell,
        }

    async def fetch_initial_config(self) -> Snapshot:
        """Get the configuration from the server, or from disk while the server is away.

        Raises ConfigUnavailable, ConfigRefused, ConfigRejected.
        """
        async with self._fetching:
            self._tried = True
            cached = await asyncio.to_thread(self._cached)
            fetched = self._fetched = asyncio.get_running_loop().create_future()
            self._events.put_nowait(core.Fetch(cached))
            if self._listener is None:
                await self._pump(fetched.done)
            error = await fetched
        if error is not None:
            raise error
        return self.snapshot

    async def start_listening(self) -> None:
        """From now on changes arrive, until `close`. Returns at once; fetches first if that was not tried yet.

        After a fetch that failed there is no configuration until the server has one to give: see `changes`.
        """
        if self._closed:
            raise RuntimeError("this client is closed")
        if not self._tried:
            await self.fetch_initial_config()
        if self._listener is None:
            self._events.put_nowait(core.Listen())
            self._listener = asyncio.create_task(self._pump(lambda: False), name="config-client")

    def changes(self) -> AsyncIterator[Change]:
        """Every change that is applied from now on. Who is slow gets what came meanwhile as one. Ends at `close`."""
        bell = asyncio.Event()
        return self._followed(self._open_mailbox(bell.set), bell)

    async def _followed(self, mailbox: Mailbox, bell: asyncio.Event) -> AsyncIterator[Change]:
        try:
            while not self._closed:
                await bell.wait()
                bell.clear()
                if (change := mailbox.take()) is not None:
                    yield change
        finally:
            self._close_mailbox(mailbox)

    async def close(self) -> None:
        """End everything. What is held can still be read."""
        self._closed = True
        self._ring_all()
        self._on_fetched(core.Fetched(ConfigUnavailable("the client is closed")))
        tasks = [*self._tasks, *([self._listener] if self._listener else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # The loop

    async def _pump(self, until: Callable[[], bool]) -> None:
        """Feed the core and do what it says."""
        while not until():
            try:
                await self._do(await self._next())
            except Exception:  # noqa: BLE001 - a loop: a fault of ours must not end it
                log.exception("a fault of this client; it goes on")

    async def _next(self) -> list[core.Action]:
        due, now = self._core.due, time.monotonic()
        if due is not None and due <= now and self._events.empty():
            return self._core.tick(now)
        try:
            async with asyncio.timeout(None if due is None else max(0, due - now)):
                event = await self._events.get()
        except TimeoutError:
            return self._core.tick(time.monotonic())
        return self._core.handle(event, time.monotonic())

    async def _do(self, actions: list[core.Action]) -> None:
        for action in actions:
            if isinstance(action, core.Save):
                if self._cache is not None:
                    await asyncio.to_thread(self._cache.save, action.document)
            else:
                self._actions[type(action)](action)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _spawned(self, work: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], None]:
        """An action that is done beside the loop."""

        def spawn(action: core.Action) -> None:
            self._spawn(work(action))

        return spawn

    def _on_fetched(self, action: core.Fetched) -> None:
        if self._fetched is not None and not self._fetched.done():
            self._fetched.set_result(action.error)

    # Handlers

    async def _judge(self, action: core.Judge) -> None:
        self._judged, judgement = self._judgement(action)
        error: Exception | None = None
        started = False
        while True:
            try:
                handler, change = judgement.send(error) if started else next(judgement)
            except StopIteration as end:
                self._events.put_nowait(core.Judged(action.new.etag, end.value))
                return
            started, error = True, None
            try:
                outcome = handler(change)
                if inspect.isawaitable(outcome):
                    await outcome
            except Exception as raised:  # noqa: BLE001 - whatever a handler raises is its no
                error = raised

    # The wire

    async def _token(self) -> str:
        """Raises TokenUnavailable."""
        try:
            given = (
                await asyncio.to_thread(current, self._source) if is_blocking(self._source) else current(self._source)
            )
            return given if isinstance(given, str) else checked(await given)
        except TokenUnavailable:
            raise
        except Exception as error:  # a source is the program's own code
            raise TokenUnavailable(f"the token's source raised {type(error).__name__}") from error

    def _client(self) -> httpx.AsyncClient:
        import httpx

        if self._http is None:
            verify = verification(self._url, self._ssl)
            self._http = httpx.AsyncClient(base_url=self._url, verify=verify, trust_env=self._trust_env)
        return self._http

    async def _ask(self, ask: core.Ask) -> None:
        try:
            given = headers(ask.headers, await self._token())
            answer = await self._client().request(
                ask.method, ask.path, headers=given, content=ask.body, timeout=ask.timeout
            )
        except failures() as error:
            self._events.put_nowait(failed(ask.ask, error))
        else:
            self._events.put_nowait(core.Answered(ask.ask, answer.status_code, answer.headers, answer.content))

    def _open(
        self,
        action: core.OpenSocket | core.OpenEvents,
        carry: Callable[[Any, str], Coroutine[Any, Any, core.Ended]],
    ) -> None:
        task = self._links[action.link] = self._spawn(self._carry(action, carry))
        task.add_done_callback(lambda _: self._forget(action.link))

    async def _carry(
        self,
        action: core.OpenSocket | core.OpenEvents,
        carry: Callable[[Any, str], Coroutine[Any, Any, core.Ended]],
    ) -> None:
        try:
            token = self._used[action.link] = await self._token()
            end = await carry(action, token)
        except failures() as error:
            end = ended(action.link, error)
        self._events.put_nowait(end)

    async def _socket(self, action: core.OpenSocket, token: str) -> core.Ended:
        from websockets.asyncio.client import connect
        from websockets.typing import Subprotocol

        options = socket_options(self._url, self._ssl, action.headers, token)
        options |= {"open_timeout": self._timings.connect, "proxy": True if self._trust_env else None}
        async with connect(
            socket_url(self._url, action.path), subprotocols=[Subprotocol(SUBPROTOCOL)], **options
        ) as socket:
            self._sockets[action.link] = socket
            self._events.put_nowait(core.Opened(action.link))
            try:
                while True:
                    self._events.put_nowait(core.Received(action.link, await socket.recv()))
            except asyncio.CancelledError:
                await socket.close()  # by 1000: nothing is wrong
                raise

    async def _event_stream(self, action: core.OpenEvents, token: str) -> core.Ended:
        import httpx

        timeout = httpx.Timeout(self._timings.connect, read=None)
        reader = EventReader()
        given = headers(action.headers, token)
        async with self._client().stream("GET", action.path, headers=given, timeout=timeout) as answer:
            if (refused := refused_events(action.link, answer.status_code, answer.headers)) is not None:
                return refused
            self._events.put_nowait(core.Opened(action.link))
            async for chunk in answer.aiter_bytes():
                for data in reader.feed(chunk):
                    self._events.put_nowait(core.Received(action.link, data))
        return core.Ended(action.link, core.Trouble.BROKEN, "the stream has ended")

    async def _send(self, action: core.Send) -> None:
        from websockets.exceptions import ConnectionClosed

        socket = self._sockets.get(action.link)
        if socket is not None:
            with contextlib.suppress(ConnectionClosed):  # whoever reads from it tells the core
                await socket.send(action.text)

    async def _renew(self, action: core.Renew) -> None:
        try:
            token = await self._token()
        except TokenUnavailable as error:
            self._tell(core.Note("token_failed", {"reason": str(error)}, "warning"))
            token = self._used.get(action.link, "")
        new = token != self._used.get(action.link)
        if new and action.link in self._sockets:
            await self._send(core.Send(action.link, auth(token)))
            self._used[action.link] = token
        self._events.put_nowait(core.Renewed(action.link, new))

    def _close_link(self, action: core.Close) -> None:
        task = self._links.get(action.link)
        if task is not None:
            task.cancel()

    def _forget(self, link: int) -> None:
        for kept in (self._links, self._sockets, self._used):
            kept.pop(link, None)
