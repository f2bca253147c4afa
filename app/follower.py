"""The thread by which a worker follows what is announced: on a word of the bus, a new heads.json, and by itself."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


class Follower:
    """Calls `follow` when woken, when `changed` says so (asked every `look` seconds), and otherwise `check()` seconds
    after the last time."""

    def __init__(
        self, follow: Callable[[], bool], *, changed: Callable[[], bool], look: float, check: Callable[[], float]
    ) -> None:
        self._follow = follow
        self._changed = changed
        self._look = look
        self._check = check
        self._woken = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look once at once, so that a worker with a mirror is ready when this returns; then go on in a thread."""
        self._safely(0.0)
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._woken.set()
        if self._thread:
            self._thread.join()

    def wake(self) -> None:
        self._woken.set()

    def _run(self) -> None:
        due = time.monotonic() + self._check()
        while not self._stop.is_set():
            if self._woken.wait(self._look):
                self._woken.clear()  # only what was seen is cleared: a word that comes right now counts next time
                due = 0.0
            if not self._stop.is_set():
                due = self._safely(due)

    def _safely(self, due: float) -> float:
        """Follow if it is time; when to do so next (monotonic seconds)."""
        try:
            if time.monotonic() < due and not self._changed():
                return due
            self._follow()
        except Exception:  # the loop must outlive whatever a look did not foresee; it is logged with its stack
            log.exception("follower.failed")
        return time.monotonic() + self._check()
