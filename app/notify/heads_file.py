"""`heads.json`: what the host's puller knows, for the host's other workers and for the next start."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import structlog

from app.notify.cursor import Cursor, Rev

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Fetched:
    """How fetching a further repository goes: since when it fails, the last hint answered, what is withheld (see
    HostState)."""

    failing_since: str | None = None
    hint: int = 0
    withheld: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostState:
    """What the puller tells: the cursor as it knows it; since when fetching fails (RFC 3339, None while it works); the
    highest shared rev this host has seen; the last hint (see Hints) that a fetch has answered; the heads of the remote
    that are not served as they are not signed, by label; how it goes with each further repository, by name."""

    cursor: Cursor
    git_failing_since: str | None = None
    seen: Rev | None = None
    hint: int = 0
    withheld: Mapping[str, str] = field(default_factory=dict)
    further: Mapping[str, Fetched] = field(default_factory=dict)


class HeadsFile:
    """Replaced atomically, so a reader sees the old or the new state and never half of one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._state: HostState | None = None

    def read(self) -> HostState | None:
        """The state, read again only when the file was replaced; None when there is none (yet) of this schema."""
        stamp = self._look()
        if stamp is None:
            return None
        if stamp != self._stamp:
            self._state, self._stamp = self._load(), stamp
        return self._state

    def changed(self) -> bool:
        """Whether the file was replaced since the last `read`. One stat(2)."""
        stamp = self._look()
        return stamp is not None and stamp != self._stamp

    def write(self, state: HostState) -> None:
        """Raises OSError when the disk is full or read-only; the former file stays as it was."""
        text = json.dumps(
            {
                "v": 1,
                "cursor": state.cursor.dumps(),
                "git_failing_since": state.git_failing_since,
                "seen": str(state.seen) if state.seen else None,
                "hint": state.hint,
                "withheld": dict(state.withheld),
                "further": {name: asdict(each) for name, each in state.further.items()},
            }
        )
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".heads-")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _load(self) -> HostState | None:
        try:
            data = json.loads(self._path.read_bytes())
            if data.get("v") != 1:
                return None
            seen = Rev.parse(data["seen"]) if data["seen"] else None
            cursor, failing, hint = Cursor.loads(data["cursor"]), data["git_failing_since"], int(data["hint"])
            further = {name: _fetched(each) for name, each in data.get("further", {}).items()}
            return HostState(cursor, failing, seen, hint, dict(data.get("withheld", {})), further)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError):
            return None  # another schema, or damaged: as if there were none; the next fetch writes it anew


class Hints:
    """A word from any worker of this host to its puller: fetch now. The file's time (ns) is the hint's number.

    What stands in it is the highest shared rev that such a worker has seen: the puller may have come later.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def give(self, seen: Rev | None = None) -> int:
        """Ask for a fetch; returns the number that `HostState.hint` reaches once a later fetch has ended.

        `seen` is the highest shared rev that whoever asks has seen.

        Each number is greater than those before: the kernel's own file times stand still for some milliseconds and
        may go back, and then the second of two hints would be taken for answered by a fetch that began before it.
        Never raises: where the disk takes nothing, the number is one that no fetch reaches.
        """
        try:
            with self._path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if seen is not None:
                    _raise(file, seen)
                number = max(time.time_ns(), os.fstat(file.fileno()).st_mtime_ns + 1)
                os.utime(file.fileno(), ns=(number, number))
                return os.fstat(file.fileno()).st_mtime_ns
        except OSError as exc:
            log.error("hint.not_written", reason=exc.strerror)
            return time.time_ns()

    def seen(self) -> Rev | None:
        """The highest rev that anybody has named."""
        try:
            return _rev(self._path.read_bytes())
        except OSError:
            return None

    def last(self) -> int:
        """The number of the latest hint; 0 before the first one."""
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return 0


def _raise(file: BinaryIO, seen: Rev) -> None:
    """Let the file say `seen`, unless it says more already. With the file's lock held."""
    file.seek(0)
    told = _rev(file.read())
    if told is None or told.rank() < seen.rank():
        file.truncate(0)
        file.write(str(seen).encode())
        file.flush()  # before its time is set


def _rev(text: bytes) -> Rev | None:
    return Rev.parse(text.decode(errors="replace"))


def _fetched(data: dict[str, Any]) -> Fetched:
    """Raises KeyError, TypeError, ValueError. What a later version says beside it is left alone."""
    return Fetched(data["failing_since"], int(data["hint"]), dict(data["withheld"]))
