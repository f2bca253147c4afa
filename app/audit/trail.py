"""The trail of one worker: what must be on disk first is written at once, the rest by a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from app.aside import PAUSE
from app.audit.chain_file import FILE_BYTES, ChainFile, Dated
from app.audit.event import AuditEvent, Link, Outcome
from app.errors import AuditUnavailable

#: Records written in one go: a few milliseconds of hashing, after which other greenlets have their turn.
_BATCH: Final = 100


class AuditTrail:
    """An append-only, hash-chained trail. Thread-safe, and right under greenlets.

    The order of the chain is the order of writing, so a durable record may stand before one that happened a moment
    earlier and waited; `time` says when each happened. What is written behind is put on the disk with the next durable
    record and at `close`; until then it is the kernel's, which loses it only when the machine dies.
    """

    def __init__(
        self,
        directory: Path,
        *,
        chain: str,
        clock: Callable[[], float],
        capacity: int = 10_000,
        file_bytes: int = FILE_BYTES,
        retry_seconds: float = 1.0,
        on_written: Callable[[int], None] = lambda _count: None,
        on_failure: Callable[[int], None] = lambda _count: None,
    ) -> None:
        """Nothing is opened before `start`.

        `chain` names this worker's file, `clock` gives Unix seconds, `capacity` is how many records may wait to be
        written behind, `file_bytes` the size at which the chain goes on in a new file, `retry_seconds` the pause after
        a failed write; `on_written` and `on_failure` are told how
        many records were written, or could not be (both must be quick and not raise).
        """
        self._directory = directory
        self._chain = chain
        self._clock = clock
        self._capacity = capacity
        self._file_bytes = file_bytes
        self._retry_seconds = retry_seconds
        self._on_written = on_written
        self._on_failure = on_failure
        self._file_lock = threading.Lock()  # guards _file and the order of writing; held during disk I/O
        self._file: ChainFile | None = None
        self._queue_lock = threading.Lock()  # guards _waiting, _dropped, _failing; never held during I/O
        self._waiting: list[Dated] = []
        self._dropped = 0
        self._failing = False
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Continue the chain of this name and start writing behind. Raises AuditUnavailable."""
        try:
            with self._file_lock:
                self._file = ChainFile(self._directory, self._chain, self._clock(), file_bytes=self._file_bytes)
        except OSError as exc:
            raise AuditUnavailable("the audit trail cannot be opened") from exc
        self._stopping.clear()
        self._thread = threading.Thread(target=self._write_behind, name="audit", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what is waiting, put it on the disk and let the chain go. May be called twice."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._file_lock:
            file, self._file = self._file, None
        if file is not None:
            try:
                file.sync()
            except OSError as error:
                self._failed("sync", error)
            file.close()

    def record(self, event: AuditEvent, *, durable: bool = False) -> None:
        """Record `event` as of now.

        `durable`: it is on the disk when this returns, or AuditUnavailable is raised and it is not in the trail.
        Otherwise it is written behind and this never waits for a disk; when more than `capacity` wait, it is counted,
        and the count recorded once there is room.
        """
        dated = (self._clock(), event)
        if durable:
            self._write_now(dated)
            return
        with self._queue_lock:
            if len(self._waiting) < self._capacity:
                self._waiting.append(dated)
                dropped = False
            else:
                self._dropped += 1
                dropped = True
        self._wake.set()
        if dropped:
            self._on_failure(1)

    @property
    def healthy(self) -> bool:
        """Whether the last write succeeded and nothing is being dropped."""
        with self._queue_lock:
            return not self._failing and not self._dropped

    @property
    def end(self) -> tuple[str, Link] | None:
        """The chain's name and its last record, while it is open. Another chain than ours if that was in use."""
        file = self._file
        return None if file is None else (file.chain, file.end)

    @property
    def path(self) -> Path | None:
        """The file of the chain while it is open."""
        file = self._file
        return None if file is None else file.path

    def _write_now(self, dated: Dated) -> None:
        try:
            with self._file_lock:
                self._append([dated], sync=True)
        except OSError as exc:
            self._failed("durable", exc)
            self._on_failure(1)
            raise AuditUnavailable("the audit trail cannot be written") from exc
        self._succeeded(1)

    def _write_behind(self) -> None:
        """The thread: write whatever waits, until told to stop and nothing waits."""
        while True:
            self._wake.wait()
            self._wake.clear()
            stopping = self._stopping.is_set()
            try:
                self._drain()
            except OSError as error:
                self._failed("behind", error)
                if stopping:
                    self._give_up()
                else:
                    self._wake.set()
                    self._stopping.wait(self._retry_seconds)
            if stopping:
                return

    def _drain(self) -> None:
        """Write all that waits, batch by batch, letting durable records in between. Raises OSError."""
        while self._write_batch():
            time.sleep(PAUSE)  # hands over to other greenlets, who would stand still while ten thousand are hashed

    def _write_batch(self) -> int:
        """Write one batch of what waits, and return how many. Raises OSError; they then go on waiting."""
        with self._queue_lock:
            batch, dropped = self._waiting[:_BATCH], self._dropped
        if dropped and len(batch) < _BATCH:
            batch = [*batch, (self._clock(), _dropped_event(dropped))]
        else:
            dropped = 0
        if not batch:
            return 0
        with self._file_lock:
            self._append(batch, sync=False)
        with self._queue_lock:
            del self._waiting[: len(batch) - bool(dropped)]
            self._dropped -= dropped
        self._succeeded(len(batch))
        return len(batch)

    def _append(self, events: list[Dated], *, sync: bool) -> None:
        """Append to the open chain; the caller holds _file_lock. Raises OSError."""
        if self._file is None:
            raise OSError("the audit trail is closed")
        self._file.append(events, sync=sync)

    def _give_up(self) -> None:
        """The disk refuses the last records of a server that stops: at least the log says how many."""
        with self._queue_lock:
            lost = len(self._waiting) + self._dropped
            self._waiting.clear()
            self._dropped = 0
        structlog.get_logger(__name__).error("audit records lost", count=lost)
        self._on_failure(lost)

    def _succeeded(self, records: int) -> None:
        with self._queue_lock:
            self._failing = False
        self._on_written(records)

    def _failed(self, what: str, error: OSError) -> None:
        """Say it once per outage: the retries that follow would fill the log."""
        with self._queue_lock:
            known, self._failing = self._failing, True
        if not known:
            structlog.get_logger(__name__).error("audit trail cannot be written", writing=what, errno=error.errno)


def _dropped_event(count: int) -> AuditEvent:
    return AuditEvent(
        "audit.dropped", Outcome.FAILED, detail="more records waited than there was room for", count=count
    )
