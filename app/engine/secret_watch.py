"""Rotation is a revision: what has changed in Vault is announced through the same cursor as commits."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import replace

import structlog

from app.errors import BusUnavailable
from app.model import SecretPath
from app.notify import CursorStore
from app.secrets import Known, VersionWatch

log = structlog.get_logger(__name__)


class SecretWatch:
    """Every `interval` seconds keeps this worker's Vault token alive and, once `activate` was called, looks.

    One worker of a host looks for all: the one that pulls.
    """

    def __init__(
        self,
        watch: VersionWatch,
        store: CursorStore,
        keep_alive: Callable[[], None],
        *,
        interval: float,
        on_rotated: Callable[[SecretPath, Known], None],
    ) -> None:
        self._watch = watch
        self._store = store
        self._keep_alive = keep_alive
        self._interval = interval
        self._on_rotated = on_rotated
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._active = False

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="secret-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

    def activate(self) -> None:
        """This worker pulls now, so it watches too."""
        self._active = True

    def tick(self) -> int:
        """One look at the secrets in use; returns how many moves were announced."""
        try:
            cursor = self._store.read()
            if cursor is None:
                return 0
            known = self._store.in_use()
            seen = self._watch.observe(known)
            changed = {path: _new_life(known[path], now) for path, now in seen.changed.items()}
            moved = {**changed, **{path: replace(known[path], gone=True) for path in seen.gone}}
            return sum(self._rotate(cursor.rev.epoch, path, known[path], now) for path, now in moved.items())
        except BusUnavailable:
            return 0  # looked at again in the next round

    def _rotate(self, epoch: str, path: SecretPath, before: Known, after: Known) -> bool:
        announced = self._store.rotate(epoch, path, before, after)
        if announced:
            self._on_rotated(path, after)
        return announced

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._keep_alive()
                if self._active and (moved := self.tick()):
                    log.info("secrets.rotated", paths=moved)
            except Exception:  # the loop must outlive whatever a look did not foresee; it is logged with its stack
                log.exception("secret_watch.tick_failed")


def _new_life(before: Known, after: Known) -> Known:
    """A path of KV v2 that was deleted and made anew counts from 1 again: other versions of the same number."""
    anew = before.gone or after.version <= before.version
    return replace(after, digest=secrets.token_hex(4)) if anew and not after.digest else after
