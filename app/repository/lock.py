"""The lock by which one process of a host pulls and all the others only read."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from app.repository.mirror import MirrorDirectory


class MirrorLock:
    """An flock(2) on `path`: the kernel frees it when its holder dies, however that happens.

    `directory` is the one given to GitConfigBackend. One thread owns an instance. The file is never removed: whoever
    held the removed one would lock nothing.
    """

    def __init__(self, path: Path, *, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._mirror = MirrorDirectory(directory)
        self._clock = clock
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def acquire(self) -> bool:
        """Take the lock if nobody has it; never waits. True when it is ours (already, too)."""
        if self._descriptor is not None:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        self.heartbeat()
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)  # closing frees the lock
            self._descriptor = None

    def heartbeat(self) -> None:
        """Write who holds the lock, and that it is alive. Nothing happens without the lock."""
        if self._descriptor is not None:
            line = json.dumps({"pid": os.getpid(), "time": self._clock()}).encode()
            os.pwrite(self._descriptor, line, 0)
            os.ftruncate(self._descriptor, len(line))

    def last_heartbeat(self) -> tuple[int, float] | None:
        """(process id, Unix seconds) of the last heartbeat of any holder, for the status page; None without one."""
        try:
            heartbeat = json.loads(self._path.read_bytes())
            return int(heartbeat["pid"]), float(heartbeat["time"])
        except (OSError, ValueError, KeyError, TypeError):  # absent, or being written just now
            return None

    def clean_up_after_former_holder(self) -> None:
        """End a Git process that the former holder left running, and remove its locks. Call once after acquire()."""
        if self._descriptor is None:
            raise RuntimeError("only the holder of the lock may clean up")
        self._mirror.end_recorded_process()
        self._mirror.remove_leftovers()
        self._mirror.remove_other_clones()
