"""`SyncConfigClient`: the driver on threads. It moves bytes and calls handlers; what to do is the core's."""

from __future__ import annotations

import contextlib
import inspect
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
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
from config_client.handlers import Handler
from config_client.reading import Reading, log
from config_client.snapshot import Change, Snapshot
from config_client.sse import EventReader
from config_client.tokens import TokenSource, current

if TYPE_CHECKING:
    import httpx
    from websockets.sync.client import ClientConnection

#: How long `close` waits for an action under way, in seconds.
_PATIENCE = 2.0


class _Stream:
    """One stream's thread, as others see it."""

    def __init__(self) -> None:
        self.token = ""  # that it was opened with
        self.socket: ClientConnection | None = None
        self._cut: Callable[[], None] | None = None
        self._lock = threading.Lock()  # guards `over` and the way to cut it
        self.over = False

    def cut_by(self, cut: Callable[[], None]) -> None:
        with self._lock:
            self._cut = cut
            over = self.over
        if over:
            cut()

    def cut(self) -> None:
        with self._lock:
            self.over, cut = True, self._cut
        if cut is not None:
            cut()


class SyncConfigClient(Reading):
    """Safe from any thread. Handlers run on a thread of the client's own. `with` closes it at the end."""

    def _prepare(self) -> None:
        if inspect.iscoroutinefunction(self._source):
            raise TypeError("this client has no event loop: give a token's source that is no coroutine")
        self._events: queue.SimpleQueue[core.Event | None] = queue.SimpleQueue()
        self._streams: dict[int, _Stream] = {}
        self._lock = threading.Lock()  # guards the making of the HTTP client
        self._judged: Snapshot | None = None
        self._listener: threading.Thread | None = None
        self._starting = threading.RLock()  # one fetch, or start, at a time
        self._fetched = _Slot()
        self._http: httpx.Client | None = None
        self._closed = threading.Event()
        self._actions: Mapping[type, Callable[[Any], None]] = {
            core.OpenSocket: self._open,
            core.OpenEvents: self._open,
            core.Send: self._send,
            core.Renew: self._spawned(self._renew),
            core.Close: self._close_link,
            core.Ask: self._spawned(self._ask),
            core.Judge: self._spawned(self._judge),
            core.Install: lambda action: self._install(action.document, self._judged),
            core.Save: lambda action: self._cache.save(action.document) if self._cache else None,
            core.Fetched: lambda action: self._fetched.put(action.error),
            core.Note: self._tell,
        }

    def fetch_initial_config(self) -> Snapshot:
        """Get the configuration from the server, or from disk while the server is away.

        Raises ConfigUnavailable, ConfigRefused, ConfigRejected.
        """
        with self._starting:
            self._tried = True
            self._fetched = slot = _Slot()
            self._events.put(core.Fetch(self._cached()))
            if self._listener is None:
                self._pump(lambda: slot.full)
            error = slot.take()
        if error is not None:
            raise error
        return self.snapshot

    def start_listening(self) -> None:
        """From now on changes arrive, until `close`. Returns at once; fetches first if that was not tried yet.

        After a fetch that failed there is no configuration until the server has one to give: see `changes`.
        """
        with self._starting:
            if self._closed.is_set():
                raise RuntimeError("this client is closed")
            if not self._tried:
                self.fetch_initial_config()
            if self._listener is None:
                self._events.put(core.Listen())
                self._listener = threading.Thread(
                    target=self._pump, args=(self._closed.is_set,), name="config-client", daemon=True
                )
                self._listener.start()

    def changes(self) -> Iterator[Change]:
        """Every change that is applied from now on. Who is slow gets what came meanwhile as one. Ends at `close`."""
        bell = threading.Event()
        mailbox = self._open_mailbox(bell.set)

        def followed() -> Iterator[Change]:
            try:
                while not self._closed.is_set():
                    bell.wait()
                    bell.clear()
                    if (change := mailbox.take()) is not None:
                        yield change
            finally:
                self._close_mailbox(mailbox)

        return followed()

    def close(self) -> None:
        """End everything. What is held can still be read."""
        self._closed.set()
        self._events.put(None)
        self._ring_all()
        self._fetched.put(ConfigUnavailable("the client is closed"))
        for stream in list(self._streams.values()):
            if stream.socket is not None:
                stream.socket.close()
            stream.cut()
        listener = self._listener
        if listener is not None and listener is not threading.current_thread():
            listener.join(_PATIENCE)
        if self._http is not None:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_handler(self, handler: Handler) -> None:
        if inspect.iscoroutinefunction(handler):
            raise TypeError("this client has no event loop: register a function that is no coroutine")

    # The loop

    def _pump(self, until: Callable[[], bool]) -> None:
        """Feed the core and do what it says."""
        while not until() and not self._closed.is_set():
            try:
                for action in self._next():
                    self._actions[type(action)](action)
            except Exception:  # noqa: BLE001 - a loop: a fault of ours must not end it
                log.exception("a fault of this client; it goes on")

    def _next(self) -> list[core.Action]:
        due, now = self._core.due, time.monotonic()
        try:
            event = self._events.get(timeout=None if due is None else max(0.0, due - now))
        except queue.Empty:
            return self._core.tick(time.monotonic())
        return self._core.handle(event, time.monotonic()) if event is not None else []

    def _spawned(self, work: Callable[[Any], None]) -> Callable[[Any], None]:
        """An action that is done on a thread of its own."""

        def run(action: core.Action) -> None:
            try:
                work(action)
            except Exception:  # noqa: BLE001 - a loop: a fault of ours must not end it
                log.exception("a fault of this client; it goes on")

        def spawn(action: core.Action) -> None:
            threading.Thread(target=run, args=(action,), name="config-client-work", daemon=True).start()

        return spawn

    # Handlers

    def _judge(self, action: core.Judge) -> None:
        self._judged, judgement = self._judgement(action)
        error: Exception | None = None
        started = False
        while True:
            try:
                handler, change = judgement.send(error) if started else next(judgement)
            except StopIteration as end:
                self._events.put(core.Judged(action.new.etag, end.value))
                return
            started, error = True, None
            try:
                handler(change)
            except Exception as raised:  # noqa: BLE001 - whatever a handler raises is its no
                error = raised

    # The wire

    def _token(self) -> str:
        """Raises TokenUnavailable."""
        source: TokenSource = self._source
        given = current(source)
        if not isinstance(given, str):
            raise TokenUnavailable("the token's source gives no text")
        return given

    def _client(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._http is None:
                verify = verification(self._url, self._ssl)
                self._http = httpx.Client(base_url=self._url, verify=verify, trust_env=self._trust_env)
            return self._http

    def _ask(self, ask: core.Ask) -> None:
        try:
            given = headers(ask.headers, self._token())
            answer = self._client().request(ask.method, ask.path, headers=given, content=ask.body, timeout=ask.timeout)
        except failures() as error:
            self._events.put(failed(ask.ask, error))
        else:
            self._events.put(core.Answered(ask.ask, answer.status_code, answer.headers, answer.content))

    def _open(self, action: core.OpenSocket | core.OpenEvents) -> None:
        stream = self._streams[action.link] = _Stream()
        self._spawned(lambda action: self._carry(action, stream))(action)

    def _carry(self, action: core.OpenSocket | core.OpenEvents, stream: _Stream) -> None:
        """One stream, from its opening to its end."""
        try:
            stream.token = self._token()
            if isinstance(action, core.OpenSocket):
                end = self._socket(action, stream)
            else:
                end = self._event_stream(action, stream)
        except failures() as error:
            if stream.over or self._closed.is_set():
                return
            end = ended(action.link, error)
        finally:
            self._streams.pop(action.link, None)
        self._events.put(end)

    def _socket(self, action: core.OpenSocket, stream: _Stream) -> core.Ended:
        from websockets.sync.client import connect
        from websockets.typing import Subprotocol

        options = socket_options(self._url, self._ssl, action.headers, stream.token)
        options |= {"open_timeout": self._timings.connect, "proxy": True if self._trust_env else None}
        with connect(socket_url(self._url, action.path), subprotocols=[Subprotocol(SUBPROTOCOL)], **options) as opened:
            stream.socket = opened
            stream.cut_by(lambda: _shut(opened.socket))
            self._events.put(core.Opened(action.link))
            while True:
                self._events.put(core.Received(action.link, opened.recv()))

    def _event_stream(self, action: core.OpenEvents, stream: _Stream) -> core.Ended:
        import httpx

        timeout = httpx.Timeout(self._timings.connect, read=None)
        reader = EventReader()
        given = headers(action.headers, stream.token)
        with self._client().stream("GET", action.path, headers=given, timeout=timeout) as answer:
            if (refused := refused_events(action.link, answer.status_code, answer.headers)) is not None:
                return refused
            network = answer.extensions["network_stream"]
            stream.cut_by(lambda: _shut(network.get_extra_info("socket")))
            self._events.put(core.Opened(action.link))
            for chunk in answer.iter_bytes():
                for data in reader.feed(chunk):
                    self._events.put(core.Received(action.link, data))
        return core.Ended(action.link, core.Trouble.BROKEN, "the stream has ended")

    def _send(self, action: core.Send) -> None:
        from websockets.exceptions import ConnectionClosed

        stream = self._streams.get(action.link)
        if stream is not None and stream.socket is not None:
            with contextlib.suppress(ConnectionClosed):  # whoever reads from it tells the core
                stream.socket.send(action.text)

    def _renew(self, action: core.Renew) -> None:
        stream = self._streams.get(action.link)
        if stream is None:
            return
        try:
            token = self._token()
        except TokenUnavailable as error:
            self._tell(core.Note("token_failed", {"reason": str(error)}, "warning"))
            token = stream.token
        new = token != stream.token
        if new and stream.socket is not None:
            self._send(core.Send(action.link, auth(token)))
            stream.token = token
        self._events.put(core.Renewed(action.link, new))

    def _close_link(self, action: core.Close) -> None:
        stream = self._streams.get(action.link)
        if stream is not None:
            stream.cut()


class _Slot:
    """The outcome of one fetch."""

    def __init__(self) -> None:
        self._there = threading.Event()
        self._error: ConfigError | None = None

    @property
    def full(self) -> bool:
        return self._there.is_set()

    def put(self, error: ConfigError | None) -> None:
        """The first outcome counts."""
        if not self._there.is_set():
            self._error = error
            self._there.set()

    def take(self) -> ConfigError | None:
        self._there.wait()
        return self._error


def _shut(sock: socket.socket) -> None:
    """Wake whoever reads from it."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
