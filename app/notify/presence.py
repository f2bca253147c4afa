"""Who is connected, and what each has applied: told by the streams of this worker, kept in Redis with an expiry."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import structlog

from app.cache import RedisLink
from app.errors import BusUnavailable
from app.notify.cursor import Rev, now_text
from app.notify.leases import LEASE_SECONDS, Lease, LeaseStore
from app.notify.wire import Ack

log = structlog.get_logger(__name__)

#: Records in one pipeline: of a size that a request can wait behind.
_AT_ONCE = 500


@dataclass(slots=True)
class Connection:
    """One stream as an operator sees it. Changed by its own thread only.

    `subject` is one of `issuer`'s: of several issuers each may have an "ada".
    """

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
    issuer: str = ""

    def as_json(self) -> dict[str, Any]:
        names = ("id", "transport", "issuer", "subject", "address", "since", "instance", "version", "acks")
        return {"v": 1, **{name: getattr(self, name) for name in names}, "topics": list(self.topics)}


#: (topic, instance, ack)
OnRejected = Callable[[str, str | None, Ack], None]


class PresenceStore(Protocol):
    """Keeps the records of all workers. Never raises: presence is for looking at, not for serving."""

    def write(self, records: Iterable[dict[str, Any]], gone: Iterable[str]) -> None: ...

    def find(self, connection: str) -> dict[str, Any] | None: ...

    def acknowledge(self, connection: str, topic: str, said: dict[str, str]) -> None:
        """Note an ack that came by another way than the stream, perhaps to another worker."""

    def all(self) -> list[dict[str, Any]]: ...

    def tidy(self) -> None:
        """Forget the streams of workers that died, and acks whose stream is gone."""


class LocalPresence:
    """For one worker."""

    def __init__(self) -> None:
        self._records: dict[str, dict[str, Any]] = {}
        self._acks: dict[str, dict[str, dict[str, str]]] = {}

    def find(self, connection: str) -> dict[str, Any] | None:
        return self._records.get(connection)

    def acknowledge(self, connection: str, topic: str, said: dict[str, str]) -> None:
        acks = self._acks.setdefault(connection, {})
        acks[topic] = _after(acks.get(topic), said)

    def write(self, records: Iterable[dict[str, Any]], gone: Iterable[str]) -> None:
        for name in gone:
            self._records.pop(name, None)
            self._acks.pop(name, None)
        self._records.update({record["id"]: record for record in records})

    def all(self) -> list[dict[str, Any]]:
        records = list(self._records.values())
        return [{**each, "acks": {**each["acks"], **self._acks.get(each["id"], {})}} for each in records]

    def tidy(self) -> None:
        for name in set(self._acks) - set(self._records):
            self._acks.pop(name, None)


class RedisPresence:
    """A hash of records beside a sorted set of when each ends, so that a dead worker's streams vanish.

    A record ends `seconds` after it was written.
    """

    def __init__(
        self, link: RedisLink, clock: Callable[[], float] = time.time, *, seconds: float = LEASE_SECONDS
    ) -> None:
        self._link = link
        self._clock = clock
        self._seconds = seconds
        self._records, self._ends, self._acks = (link.key(name) for name in ("streams", "streams:ends", "streams:acks"))

    def find(self, connection: str) -> dict[str, Any] | None:
        try:
            text = self._link.call(lambda client: cast("bytes | None", client.hget(self._records, connection)))
        except BusUnavailable:
            return None
        return _record(text)

    def acknowledge(self, connection: str, topic: str, said: dict[str, str]) -> None:
        def note(client: Any) -> None:
            name = f"{connection} {topic}"
            before = client.hget(self._acks, name)
            now = _after(_ack(before), said)
            client.hset(self._acks, name, json.dumps({"v": 1, "topic": topic, **now}))

        self._quietly(note)

    def write(self, records: Iterable[dict[str, Any]], gone: Iterable[str]) -> None:
        texts = {record["id"]: json.dumps(record) for record in records}
        left = list(gone)

        def all_of_it(client: Any) -> None:
            pipeline = client.pipeline(transaction=False)
            if texts:
                pipeline.hset(self._records, mapping=texts)
                pipeline.zadd(self._ends, dict.fromkeys(texts, self._clock() + self._seconds))
            if left:
                pipeline.hdel(self._records, *left)
                pipeline.zrem(self._ends, *left)
            pipeline.execute()

        self._quietly(all_of_it)

    def all(self) -> list[dict[str, Any]]:
        def everything(client: Any) -> tuple[list[bytes], dict[bytes, bytes], dict[bytes, bytes]]:
            living = client.zrangebyscore(self._ends, self._clock(), "+inf")
            return living, client.hgetall(self._records), client.hgetall(self._acks)

        try:
            living, found, acks = self._link.call(everything)
        except BusUnavailable:
            return []
        known = [_record(found.get(name)) for name in living]
        records = {record["id"]: record for record in known if record is not None}
        for name, text in acks.items():
            record, said = records.get(name.decode(errors="replace").partition(" ")[0]), _ack(text)
            if record is not None and said is not None:
                record["acks"][said["topic"]] = {key: value for key, value in said.items() if key not in ("v", "topic")}
        return list(records.values())

    def tidy(self) -> None:
        def forget(client: Any) -> None:
            dead = client.zrangebyscore(self._ends, "-inf", self._clock())
            if dead:
                client.zrem(self._ends, *dead)
                client.hdel(self._records, *dead)
            streams = set(client.hkeys(self._records))
            orphans = [name for name in client.hkeys(self._acks) if name.partition(b" ")[0] not in streams]
            if orphans:
                client.hdel(self._acks, *orphans)

        self._quietly(forget)

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
        lease_seconds: float = LEASE_SECONDS,
        on_rejected: OnRejected = lambda _topic, _instance, _ack: None,
    ) -> None:
        """`per_instance`, `per_subject`: streams that one client may hold over all workers; 0 for any number.

        Records and leases end after `lease_seconds`, and are renewed three times as often. `on_rejected` is told which
        instance has not taken what of a topic, and must not block.
        """
        self._on_rejected = on_rejected
        self._store = store
        self._leases = leases
        self._limits = {"instance": per_instance, "subject": per_subject}
        self._flush_seconds = flush_seconds
        self._renew_seconds = lease_seconds / 3
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
        if self._lease(connection, "subject", f"{connection.issuer} {connection.subject}") and (
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
            known.acks[ack.topic] = _after(known.acks.get(ack.topic), _said(ack))
            self._touch(connection)
            self._tell(known.instance, ack)

    def acknowledge_for(self, connection: str, subject: str, ack: Ack, *, issuer: str = "") -> bool:
        """The same, said beside the stream (SSE) and perhaps to another worker. False unless the subject's own."""
        record = self._store.find(connection)
        if record is None or (record.get("issuer", ""), record["subject"]) != (issuer, subject):
            return False
        if ack.topic not in record["topics"]:
            return False
        self._store.acknowledge(connection, ack.topic, _said(ack))
        self._tell(record.get("instance"), ack)
        return True

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
        for start in range(0, max(len(connections), 1), _AT_ONCE):
            part = connections[start : start + _AT_ONCE]
            self._store.write([each.as_json() for each in part], gone if not start else ())
            leases = [lease for each in part for lease in each.leases] if everything else []
            if leases:
                self._leases.renew(leases)
        if everything:
            self._store.tidy()

    def _lease(self, connection: Connection, kind: str, name: str) -> bool:
        limit = self._limits[kind]
        if not limit:
            return True
        lease = Lease(kind, name, connection.id)
        if not self._leases.take(lease, limit):
            return False
        connection.leases.append(lease)
        return True

    def _tell(self, instance: str | None, ack: Ack) -> None:
        if ack.status == "rejected":
            self._on_rejected(ack.topic, instance, ack)

    def _touch(self, connection: str) -> None:
        with self._lock:
            self._changed.add(connection)

    def _run(self) -> None:
        renew_at = time.monotonic() + self._renew_seconds
        while not self._stop.wait(self._flush_seconds):
            everything = time.monotonic() >= renew_at
            if everything:
                renew_at = time.monotonic() + self._renew_seconds
            try:
                if everything or self._changed or self._gone:
                    self.flush(everything=everything)
            except Exception:  # the loop must outlive whatever a flush did not foresee; it is logged with its stack
                log.exception("presence.failed")


def _record(text: bytes | None) -> dict[str, Any] | None:
    """None for nothing, and for what another version of the server wrote or what is damaged."""
    record = _versioned(text)
    shape = {"id": str, "subject": str, "topics": list, "acks": dict}
    whole = record is not None and all(isinstance(record.get(name), kind) for name, kind in shape.items())
    return record if whole else None


def _ack(text: bytes | None) -> dict[str, Any] | None:
    said = _versioned(text)
    whole = said is not None and all(isinstance(said.get(name), str) for name in ("topic", "rev", "etag", "status"))
    return said if whole else None


def _versioned(text: bytes | None) -> dict[str, Any] | None:
    try:
        data = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) and data.get("v") == 1 else None


def _after(before: Mapping[str, str] | None, said: dict[str, str]) -> dict[str, str]:
    """An ack that follows another: who rejects goes on with what it applied before, and one that was overtaken on its
    way changes nothing."""
    if before is not None and _is_older(said["rev"], before["rev"]):
        return dict(before)
    if before is None or said["status"] != "rejected":
        return said
    applied = before["etag"] if before["status"] == "applied" else before.get("applied")
    return {**said, "applied": applied} if applied else said


def _is_older(text: str, other: str) -> bool:
    rev, held = Rev.parse(text), Rev.parse(other)
    return rev is not None and held is not None and rev.epoch == held.epoch and rev.seq < held.seq


def _said(ack: Ack) -> dict[str, str]:
    said = {"rev": ack.rev, "etag": ack.etag, "status": ack.status, "at": now_text()}
    return said | ({"reason": ack.reason} if ack.reason else {})
