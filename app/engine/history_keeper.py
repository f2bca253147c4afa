"""The thread that adds new commits to the history's file, in the worker that pulls."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence

import structlog

from app.errors import RepositoryUnavailable
from app.repository import HistoryFile

#: How long it lets those go first who wait for what is new, in seconds: nobody waits for a line of history.
PAUSE = 1.0

log = structlog.get_logger(__name__)


class HistoryKeeper:
    """`wake` after each fetch; `heads` are the commits whose lines are to be there."""

    def __init__(self, history: HistoryFile, heads: Callable[[], Sequence[str]]) -> None:
        self._history = history
        self._heads = heads
        self._woken = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._done: Sequence[str] = ()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._woken.set()
        if self._thread:
            self._thread.join()

    def wake(self) -> None:
        self._woken.set()

    def tick(self) -> int:
        """Add what is new; returns how many commits. What fails now is tried again after the next fetch."""
        heads = self._heads()
        if heads == self._done:
            return 0
        try:
            added = self._history.update(heads, self._stop.is_set)
        except (RepositoryUnavailable, sqlite3.Error, OSError) as failure:
            log.warning("history.not_kept", reason=type(failure).__name__)
            return 0
        self._done = heads
        return added

    def _run(self) -> None:
        while self._woken.wait() and not self._stop.wait(PAUSE):
            self._woken.clear()
            try:
                if added := self.tick():
                    log.info("history.kept", commits=added)
            except Exception:  # the loop must outlive whatever a tick did not foresee; it is logged with its stack
                log.exception("history.failed")
