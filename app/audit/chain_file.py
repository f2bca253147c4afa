"""One chain on disk: continued where it ended, mended after a crash, appended to whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

from app.audit.claim import claim
from app.audit.event import AuditEvent, Outcome, chained

#: An event and when it happened, in Unix seconds.
Dated: TypeAlias = tuple[float, AuditEvent]

_TORN_SHOWN: Final = 4096


class ChainFile:
    """The file of one chain, locked for this process. Not thread-safe: the trail serialises."""

    def __init__(self, directory: Path, chain: str, time: float) -> None:
        """Open the chain (see `claim`) and record what had to be mended, dated `time`. Raises OSError."""
        claimed = claim(directory, chain, time)
        self._descriptor = claimed.descriptor
        self._size, self._link = claimed.size, claimed.link
        self.chain: Final = claimed.chain
        self.path: Final = claimed.path
        self._torn: Final = claimed.path.with_suffix(".torn")
        try:
            self._mend(claimed.torn, claimed.damaged, time)
        except BaseException:
            self.close()
            raise

    def append(self, events: Sequence[Dated], *, sync: bool) -> None:
        """Add a record for each event, all or none. Raises OSError; the chain then ends where it did before.

        With `sync` they are on the disk when this returns, and so is everything before them.
        """
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
