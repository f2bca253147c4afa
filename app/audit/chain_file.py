"""One chain on disk: continued where it ended, mended after a crash, appended to whole or not at all.

A file that is full is closed under a name of its own, and the chain goes on in the next: the first record there holds
the hash of the last one here.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from app.audit.claim import claim
from app.audit.event import AuditEvent, Link, Outcome, chained
from app.audit.files import closed_path, sync_directory

#: An event and when it happened, in Unix seconds.
Dated: TypeAlias = tuple[float, AuditEvent]

_TORN_SHOWN: Final = 4096
#: The size at which a file is closed, in bytes: some hundred thousand records.
FILE_BYTES: Final = 64 << 20

log = structlog.get_logger(__name__)


class ChainFile:
    """The file of one chain, locked for this process. Not thread-safe: the trail serialises."""

    def __init__(self, directory: Path, chain: str, time: float, *, file_bytes: int = FILE_BYTES) -> None:
        """Open the chain (see `claim`) and record what had to be mended, dated `time`. Raises OSError.

        A file of `file_bytes` or more is closed before the next record.
        """
        claimed = claim(directory, chain, time)
        self._descriptor = claimed.descriptor
        self._size, self._link = claimed.size, claimed.link
        self._file_bytes = file_bytes
        self._cannot_close = False
        self.chain: Final = claimed.chain
        self.path: Final = claimed.path
        self._torn: Final = claimed.path.with_suffix(".torn")
        try:
            self._mend(claimed.torn, claimed.damaged, time)
        except BaseException:
            self.close()
            raise

    @property
    def end(self) -> Link:
        """The last record that is whole and stays."""
        return self._link

    def append(self, events: Sequence[Dated], *, sync: bool) -> None:
        """Add a record for each event, all or none. Raises OSError; the chain then ends where it did before.

        With `sync` they are on the disk when this returns, and so is everything before them.
        """
        if self._size >= self._file_bytes:
            self._begin_another()
        size, link = self._size, self._link
        lines = []
        for time, event in events:
            line, link = chained(event, time=time, chain=self.chain, after=link)
            lines.append(line)
        data = b"".join(lines)
        try:
            self._write(data)
            if sync:
                os.fsync(self._descriptor)
        except OSError:
            self._cut(size)
            raise
        self._size, self._link = size + len(data), link

    def sync(self) -> None:
        """Put what was appended on the disk. Raises OSError."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Let the chain go, for the next process to continue it."""
        os.close(self._descriptor)

    def _begin_another(self) -> None:
        """Close the file and go on in a new one. Where that cannot be done the file grows, and the log says so, once.

        At every moment the name of the chain is that of a file which we hold, so no other process comes in between.
        """
        draft, closed = self.path.with_suffix(".next"), closed_path(self.path, self._link.seq)
        try:
            self.sync()
            fresh = os.open(draft, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fresh, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _take_over(self.path, draft, closed)
            except OSError:
                os.close(fresh)
                raise
        except OSError as error:
            if not self._cannot_close:
                log.warning("audit.file_not_closed", file=self.path.name, errno=error.errno)
            self._cannot_close = True
            return
        os.close(self._descriptor)
        self._descriptor, self._size, self._cannot_close = fresh, 0, False
        sync_directory(self.path.parent)

    def _write(self, data: bytes) -> None:
        if os.fstat(self._descriptor).st_size != self._size:
            os.ftruncate(self._descriptor, self._size)  # half a line that an earlier failure could not take back
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def _cut(self, size: int) -> None:
        try:
            os.ftruncate(self._descriptor, size)
        except OSError:
            return  # _write looks again before the next record

    def _mend(self, torn: bytes, damaged: str | None, time: float) -> None:
        """Move half a line, left by a crash, into a record. A file beside holds it meanwhile, for a second crash."""
        if torn:
            _write_beside(self._torn, torn)
            os.ftruncate(self._descriptor, self._size)
        if self._torn.exists():
            self.append([(time, _torn_event(self._torn.read_bytes()))], sync=True)
            self._torn.unlink()
        if damaged is not None:
            detail = f"the last line was not a record of this chain; the file is kept as {damaged}"
            self.append([(time, AuditEvent("audit.damaged", Outcome.FAILED, detail=detail))], sync=True)


def _take_over(path: Path, draft: Path, closed: Path) -> None:
    os.link(path, closed)
    try:
        draft.replace(path)
    except OSError:
        closed.unlink()
        raise


def _torn_event(fragment: bytes) -> AuditEvent:
    shown = fragment[:_TORN_SHOWN].decode("utf-8", "backslashreplace")
    digest = hashlib.sha256(fragment).hexdigest()
    detail = f"half a line of {len(fragment)} bytes, SHA-256 {digest}: {shown}"
    return AuditEvent("audit.torn", Outcome.FAILED, detail=detail)


def _write_beside(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
