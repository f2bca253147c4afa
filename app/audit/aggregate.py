"""Records that would flood the trail, counted per minute: reads of secrets, and denials of who has no name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

from app.audit.event import AuditEvent, Outcome

#: Stands for all addresses beyond the bound.
EVERYONE_ELSE: Final = "*"

#: The minute first, so that what is over can be told; then what makes events alike.
_Key: TypeAlias = tuple[int, str | None, str | None, str | None, str | None]
_Counts: TypeAlias = dict[_Key, tuple[AuditEvent, int]]


class AuditAggregate:
    """Counts like events of one minute and emits each kind as one record when the minute is over. Thread-safe.

    A record is the first event of its minute, request id included, with the count of all.
    """

    def __init__(
        self,
        emit: Callable[[AuditEvent], None],
        clock: Callable[[], float],
        *,
        seconds: float = 60.0,
        max_reads: int = 10_000,
        max_addresses: int = 1_000,
    ) -> None:
        """`emit` takes the finished records and must not block; `clock` gives Unix seconds; `seconds` is the minute."""
        self._emit = emit
        self._clock = clock
        self._seconds = seconds
        self._max_reads = max_reads
        self._max_addresses = max_addresses
        self._lock = threading.Lock()  # guards _reads and _denials; not held while emitting
        self._reads: _Counts = {}
        self._denials: _Counts = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Emit what is due from a thread of its own, a few times a minute."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._flush_often, name="audit-aggregate", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Emit everything counted so far, and stop."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._emit_all(self._taken(None))

    def read(self, event: AuditEvent, etag: str) -> None:
        """The target was read, secrets resolved: one record per (principal, topic, etag) and minute."""
        key = (self._minute(self._clock()), event.issuer, event.subject, event.target, etag)
        early: list[AuditEvent] = []
        with self._lock:
            if key not in self._reads and len(self._reads) >= self._max_reads:
                early, self._reads = _finished(self._reads), {}  # sooner than a minute, but counted and bounded
            _count(self._reads, key, event)
        self._emit_all(early)

    def read_again(self, issuer: str, subject: str, target: str, etag: str) -> bool:
        """Count a read for which this minute has a record; False where `read` must be told of it."""
        key = (self._minute(self._clock()), issuer, subject, target, etag)
        with self._lock:
            counted = self._reads.get(key)
            if counted is not None:
                self._reads[key] = (counted[0], counted[1] + 1)
        return counted is not None

    def denied(self, event: AuditEvent) -> None:
        """A request was denied: with a subject each is a record, without one they are counted per address and minute.

        Addresses beyond the bound share the record of `*`, which names no request.
        """
        if event.subject is not None:
            self._emit(event)
            return
        minute = self._minute(self._clock())
        key = (minute, event.address, None, None, None)
        with self._lock:
            if key not in self._denials and len(self._denials) >= self._max_addresses:
                key = (minute, EVERYONE_ELSE, None, None, None)
                event = AuditEvent(event.action, Outcome.DENIED, address=EVERYONE_ELSE, detail="further addresses")
            _count(self._denials, key, event)

    def flush_due(self, now: float) -> None:
        """Emit what was counted in minutes that are over at `now` (Unix seconds)."""
        self._emit_all(self._taken(self._minute(now)))

    def _minute(self, now: float) -> int:
        return int(now // self._seconds)

    def _taken(self, before: int | None) -> list[AuditEvent]:
        """Take out the counts of minutes before that one (None: all) as finished events."""
        with self._lock:
            reads, self._reads = _split(self._reads, before)
            denials, self._denials = _split(self._denials, before)
        return [*_finished(reads), *_finished(denials)]

    def _emit_all(self, events: list[AuditEvent]) -> None:
        for event in events:
            self._emit(event)

    def _flush_often(self) -> None:
        while not self._stopping.wait(min(self._seconds / 6, 10.0)):
            self.flush_due(self._clock())


def _count(counts: _Counts, key: _Key, event: AuditEvent) -> None:
    first, count = counts.get(key, (event, 0))
    counts[key] = (first, count + 1)


def _split(counts: _Counts, before: int | None) -> tuple[_Counts, _Counts]:
    """(what is of minutes before that one, the rest)."""
    if before is None:
        return counts, {}
    due = {key: counted for key, counted in counts.items() if key[0] < before}
    return due, {key: counted for key, counted in counts.items() if key not in due} if due else counts


def _finished(counts: _Counts) -> list[AuditEvent]:
    return [replace(event, count=count) for event, count in counts.values()]
