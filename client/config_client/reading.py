"""What both clients have in common: what they were told to do, reading what is held, and who hears of changes."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, overload

from config_client import core
from config_client.cache import DiskCache
from config_client.carriage import checked_url
from config_client.cipher import AesCipher
from config_client.document import Document
from config_client.errors import ConfigUnavailable
from config_client.frozen import FrozenDict
from config_client.handlers import Handler, Handlers, Judgement
from config_client.snapshot import Change, Snapshot, change_between, snapshot_of
from config_client.timings import Timings
from config_client.tokens import TokenSource
from config_client.version import __version__

log = logging.getLogger("config_client")

T = TypeVar("T")
D = TypeVar("D")
H = TypeVar("H", bound=Handler)

#: (name, fields) of what happens: connected, disconnected, applied, rejected, fetch_failed, ... for metrics.
Observer = Callable[[str, Mapping[str, Any]], None]


class Live(Generic[T]):
    """A part of the configuration as a typed value that is always the current one.

    `live.value` is of one version; `live.pool` is short for `live.value.pool`. Any thread.
    """

    def __init__(self, reading: Reading, key: str, kind: type[T]) -> None:
        self._reading, self._key, self._kind = reading, key, kind
        self._seen: tuple[Snapshot, T] | None = None

    @property
    def value(self) -> T:
        return self.of(self._reading.snapshot)

    def of(self, snapshot: Snapshot) -> T:
        """Raises BindingError."""
        seen = self._seen
        if seen is None or seen[0] is not snapshot:
            seen = self._seen = (snapshot, snapshot.bind(self._key, self._kind))
        return seen[1]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # never one of a setting, and asked for by copy and pickle before there is anything
            raise AttributeError(name)
        return getattr(self.value, name)

    def __repr__(self) -> str:
        return f"<live {self._kind.__name__} at {self._key!r}>"


class Mailbox:
    """What one reader of changes has not seen yet: all of it as one change, however slow the reader is."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self.ring = ring
        self._lock = threading.Lock()  # guards what waits
        self._waiting: Change | None = None

    def put(self, change: Change) -> None:
        with self._lock:
            before = self._waiting
            self._waiting = change if before is None else change_between(before.old, change.new)
        self.ring()

    def take(self) -> Change | None:
        with self._lock:
            change, self._waiting = self._waiting, None
            return change if change is None or change.keys else None


class Reading:
    """The configuration of `service_name` in `env` (several: `"eu,production"`), from `label` (the server's default).

    `auth_token` is a text, a `Path` of a file that is read again each time, or a callable. With `cache_dir` the last
    good configuration is kept there, encrypted by `cache_key` (extra `encryption`) and without the keys of the patterns
    `cache_without`. `fail_fast`: the first fetch raises at the first failure and does not look on disk. `on_event` is
    told what happens, for metrics. Reading is safe from any thread.
    """

    def __init__(
        self,
        config_server_url: str,
        service_name: str,
        env: str,
        auth_token: TokenSource,
        *,
        label: str = "",
        instance: str = "",
        cache_dir: str | os.PathLike[str] | None = None,
        cache_key: bytes | None = None,
        cache_without: Sequence[str] = (),
        fail_fast: bool = False,
        transports: Sequence[str] = core.TRANSPORTS,
        timings: Timings | None = None,
        ssl_context: ssl.SSLContext | None = None,
        trust_env: bool = True,
        on_event: Observer | None = None,
    ) -> None:
        if not transports or not set(transports) <= set(core.TRANSPORTS):
            raise ValueError(f"transports are some of {', '.join(core.TRANSPORTS)}")
        self._url = checked_url(config_server_url)
        self._source = auth_token
        self._timings = timings or Timings()
        self._ssl = ssl_context
        self._trust_env = trust_env
        self._observer = on_event
        instance = instance or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        subject = core.Subject(service_name, env, label, instance, f"python-{__version__}")
        self._core = core.Core(subject, self._timings, transports=transports, fail_fast=fail_fast)
        self._cache = None
        if cache_dir is not None:
            cipher = AesCipher(cache_key) if cache_key is not None else None
            self._cache = DiskCache(Path(cache_dir), self._url, subject.name, without=cache_without, cipher=cipher)
        self._handlers = Handlers()
        self._mailboxes: tuple[Mailbox, ...] = ()
        self._opening = threading.Lock()  # guards the opening and closing of mailboxes
        self._snapshot: Snapshot | None = None
        self._tried = False  # whether a first configuration was asked for
        self._prepare()

    def _prepare(self) -> None:
        """What a driver needs of its own."""

    # Reading

    @property
    def snapshot(self) -> Snapshot:
        """All of it as of one version; it stays what it is. Raises ConfigUnavailable before there is one."""
        snapshot = self._snapshot
        if snapshot is None:
            raise ConfigUnavailable("there is no configuration yet: call fetch_initial_config() first")
        return snapshot

    @property
    def config(self) -> FrozenDict:
        """The nested document, for reading."""
        return self.snapshot.config

    def __getitem__(self, key: str) -> Any:
        return self.snapshot[key]

    def __contains__(self, key: str) -> bool:
        return key in self.snapshot

    @overload
    def get(self, key: str, default: D, *, type: type[T]) -> T | D: ...
    @overload
    def get(self, key: str, *, type: type[T]) -> T | None: ...
    @overload
    def get(self, key: str, default: Any = None) -> Any: ...
    def get(self, key: str, default: Any = None, *, type: Any = None) -> Any:
        """What stands at `key`, as a `type` if one is given. Raises BindingError."""
        return self.snapshot.get(key, default, type=type)

    @overload
    def bind(self, key: str, kind: type[T]) -> Live[T]: ...
    @overload
    def bind(self, key: str, kind: type[T], *, live: Literal[False]) -> T: ...
    def bind(self, key: str, kind: type[T], *, live: bool = True) -> Live[T] | T:
        """The part at `key` as a dataclass or a pydantic model: live, or as it is now.

        A configuration that does not fit what is bound live is rejected when it comes. Raises BindingError for the one
        that is held.
        """
        if not live:
            return self.snapshot.bind(key, kind)
        bound = Live(self, key, kind)
        if self._snapshot is not None:
            bound.of(self._snapshot)
        self._handlers.add_check(bound.of)
        return bound

    @property
    def version(self) -> str:
        """The commit that the configuration comes from."""
        return self.snapshot.version

    @property
    def stale(self) -> bool:
        """Whether it may be older than what the server has: see `stale_reasons`."""
        return bool(self.stale_reasons)

    @property
    def stale_reasons(self) -> tuple[str, ...]:
        """The server's own (git, vault, invalid, secret, behind, held); `disk`: no server has confirmed it yet; `gone`:
        the server has not got it any more; `unconfirmed`: nothing was heard for two minutes."""
        return self._core.stale(time.monotonic())

    @property
    def transport(self) -> str:
        """The way that changes come by now: websocket, sse, long-poll or poll; "" while none does."""
        return self._core.following_by

    # Hearing of changes

    def on_change(self, pattern: str = "*") -> Callable[[H], H]:
        """Decorator: call it with a Change when a key that `pattern` names changes (`db.*`, `*.timeout`, `db.pool`).

        It is called before the change is there. If it raises, the client keeps the former configuration, tells the
        server why, and goes on; handlers that ran before it are called once more, with the way back (`reverted`).
        """

        def registered(handler: H) -> H:
            self._check_handler(handler)
            self._handlers.add(pattern, handler)
            return handler

        return registered

    def _check_handler(self, handler: Handler) -> None:
        """Raises TypeError for what this client cannot call."""

    # For the drivers

    def _judgement(self, judge: core.Judge) -> tuple[Snapshot, Judgement]:
        new = snapshot_of(judge.new)
        return new, self._handlers.judgement(self._snapshot if judge.old is not None else None, new)

    def _install(self, document: Document, judged: Snapshot | None) -> None:
        """Swap the one reference that readers use, then tell those who follow."""
        old = self._snapshot
        if old is not None and old.etag == document.etag and old.version == document.version:
            return
        if judged is not None and judged.etag == document.etag and judged.version == document.version:
            new = judged
        else:
            new = snapshot_of(document)
        self._snapshot = new
        if old is not None and (change := change_between(old, new)).keys:
            for mailbox in self._mailboxes:
                mailbox.put(change)

    def _tell(self, note: core.Note) -> None:
        fields = " ".join(f"{name}={value}" for name, value in note.fields.items())
        log.log(logging.getLevelNamesMapping()[note.level.upper()], "config %s %s", note.name, fields)
        if self._observer is not None:
            try:
                self._observer(note.name, note.fields)
            except Exception:
                log.exception("the hook for events raised")

    def _cached(self) -> Document | None:
        return self._cache.load() if self._cache is not None else None

    def _ring_all(self) -> None:
        """So that those who wait for changes see that this is the end."""
        for mailbox in self._mailboxes:
            mailbox.ring()

    def _open_mailbox(self, ring: Callable[[], None]) -> Mailbox:
        mailbox = Mailbox(ring)
        with self._opening:
            self._mailboxes = (*self._mailboxes, mailbox)
        return mailbox

    def _close_mailbox(self, mailbox: Mailbox) -> None:
        with self._opening:
            self._mailboxes = tuple(each for each in self._mailboxes if each is not mailbox)
