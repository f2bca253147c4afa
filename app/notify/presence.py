"""Who is connected, and what each has applied: told by the streams of this worker, kept in Redis with an expiry."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from app.cache import RedisLink
from app.errors import BusUnavailable
from app.notify.cursor import now_text
from app.notify.leases import LEASE_SECONDS, Lease, LeaseStore
from app.notify.wire import Ack

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Connection:
    """One stream as an operator sees it. Changed by its own thread only."""

    id: str
    transport: str
    subject: str
    address: str
    since: str
    instance: str | None = None
    version: str | None = None
    topics: tuple[str, ...] = ()
    acks: dict[str, dict[str, str]] = field(default_factory=dict)
    leases: list[Lease] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        names = ("id", "transport", "subject", "address", "since", "instance", "version", "acks")
        return {"v": 1, **{name: getattr(self, name) for name in names}, "topics": list(self.topics)}


class PresenceStore(Protocol):
    """Keeps the records of all workers. Never raises: presence is for looking at, not for serving."""

    def write(self, records: Iterable[dict[str, Any]], gone: Iterable[str]) -> None: ...

    def all(self) -> list[dict[str, Any]]: ...


class LocalPresence:
    """For one worker."""

    def __init__(self) -> None:
        self._records: dict[str, dict[str, Any]] = {}

    def write(self, records: Iterable[dict[str, Any]], gone: Iterable[str]) -> None:
        for name in gone:
            self._records.pop(name, None)
        self._records.update({record["id"]: record for record in records})

    def all(self) -> list[dict[str, Any]]:
        return list(self._records.values())


class RedisPresence:
    """A hash of records beside a sorted set of when each ends, so that a dead worker's streams vanish."""

    def __init__(self, link: RedisLink, clock: Callable[[], float] = time.time) -> None:
        self._link = link
        self._clock = clock
        self._records, self._ends = link.key("streams"), link.key("streams:ends")

    def write(self, records: Iterable[dict[str, Any]], gone: Iterable[str]) -> None:
        texts = {record["id"]: json.dumps(record) for record in records}
        left = list(gone)

        def all_of_it(client: Any) -> None:
            pipeline = client.pipeline(transaction=False)
            if texts:
                pipeline.hset(self._records, mapping=texts)
                pipeline.zadd(self._ends, dict.fromkeys(texts, self._clock() + LEASE_SECONDS))
            if left:
                pipeline.hdel(self._records, *left)
                pipeline.zrem(self._ends, *left)
            pipeline.execute()

        self._quietly(all_of_it)

    def all(self) -> list[dict[str, Any]]:
        def living(client: Any) -> list[bytes | None]:
            dead = client.zrangebyscore(self._ends, "-inf", self._clock())
            if dead:
                client.zrem(self._ends, *dead)
                client.hdel(self._records, *dead)
            values: list[bytes | None] = client.hvals(self._records)
            return values

        try:
            found = self._link.call(living)
        except BusUnavailable:
            return []
        records = [json.loads(text) for text in found if text]
        return [record for record in records if record.get("v") == 1]

    def _quietly(self, command: Callable[[Any], None]) -> None:
        try:
            self._link.call(command)
        except BusUnavailable:
            log.debug("presence.not_written")


class Presence:
    """The streams of this worker. Thread-safe; its own thread writes what changed, and renews the rest."""

    def __init__(
        self,
        store: PresenceStore,
        leases: LeaseStore,
        *,
        per_instance: int,
        per_subject: int,
        flush_seconds: float = 1.0,
    ) -> None:
        """`per_instance`, `per_subject`: streams that one client may hold over all workers; 0 for any number."""
        self._store = store
        self._leases = leases
        self._limits = {"instance": per_instance, "subject": per_subject}
        self._flush_seconds = flush_seconds
        self._lock = threading.Lock()  # guards the three collections below
        self._connections: dict[str, Connection] = {}
        self._changed: set[str] = set()
        self._gone: set[str] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def arrive(self, connection: Connection, instance: str | None = None) -> bool:
        """A stream opens. False when its subject or instance holds as many as it may; then it is not noted."""
        with self._lock:
            self._connections[connection.id] = connection
            self._changed.add(connection.id)
        if self._lease(connection, "subject", connection.subject) and (
            instance is None or self.identify(connection.id, instance, None)
        ):
            return True
        self.depart(connection.id)
        return False

    def identify(self, connection: str, instance: str, version: str | None) -> bool:
        """The client says which instance it is. False when that instance holds as many streams as it may."""
        known = self._connections.get(connection)
        if known is None:
            return True
        if known.instance != instance and not self._lease(known, "instance", instance):
            return False
        known.instance, known.version = instance, version or known.version
        self._touch(connection)
        return True

    def subscribed(self, connection: str, topics: Iterable[str]) -> None:
        known = self._connections.get(connection)
        if known is not None:
            known.topics = tuple(topics)
            known.acks = {topic: ack for topic, ack in known.acks.items() if topic in known.topics}
            self._touch(connection)

    def acknowledge(self, connection: str, ack: Ack) -> None:
        """What the client did with a change; of topics that it does not subscribe to nothing is kept."""
        known = self._connections.get(connection)
        if known is not None and ack.topic in known.topics:
            said = {"rev": ack.rev, "etag": ack.etag, "status": ack.status, "at": now_text()}
            known.acks[ack.topic] = said | ({"reason": ack.reason} if ack.reason else {})
            self._touch(connection)

    def depart(self, connection: str) -> None:
        with self._lock:
            known = self._connections.pop(connection, None)
            self._gone.add(connection)
        for lease in known.leases if known else ():
            self._leases.release(lease)

    def all(self) -> list[dict[str, Any]]:
        """Every stream of every worker."""
        return self._store.all()

    def flush(self, *, everything: bool = False) -> None:
        """Write what changed since the last call; `everything` renews all records and leases."""
        with self._lock:
            names = list(self._connections) if everything else list(self._changed)
            gone, self._gone, self._changed = self._gone, set(), set()
            connections = [self._connections[name] for name in names if name in self._connections]
        for start in range(0, max(len(connections), 1), 500):  # pipelines of a size that a request can wait behind
            self._store.write([each.as_json() for each in connections[start : start + 500]], gone if not start else ())
        if everything:
            self._leases.renew([lease for each in connections for lease in each.leases])

    def _lease(self, connection: Connection, kind: str, name: str) -> bool:
        limit = self._limits[kind]
        if not limit:
            return True
        lease = Lease(kind, name, connection.id)
        if not self._leases.take(lease, limit):
            return False
        connection.leases.append(lease)
        return True

    def _touch(self, connection: str) -> None:
        with self._lock:
            self._changed.add(connection)

    def _run(self) -> None:
        renew_at = time.monotonic() + LEASE_SECONDS / 3
        while not self._stop.wait(self._flush_seconds):
            everything = time.monotonic() >= renew_at
            if everything:
                renew_at = time.monotonic() + LEASE_SECONDS / 3
            if everything or self._changed or self._gone:
                self.flush(everything=everything)
