"""The cursor of a server without Redis: in memory, one worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from app.model import SecretPath
from app.notify.cursor import Cursor, LabelHead, Rev
from app.secrets import Known


class LocalCursorStore:
    """Same contract and same behaviour as the shared store, for the threads of one process."""

    def __init__(self, start: Cursor | None = None, *, on_move: Callable[[], None] = lambda: None) -> None:
        self._on_move = on_move
        self._cursor = start
        self._lock = threading.Lock()  # guards _cursor: compare and set in one step

    def read(self) -> Cursor | None:
        return self._cursor

    def seed(self, before: Cursor | None, after: Cursor) -> bool:
        with self._lock:
            if _rev(self._cursor) != _rev(before):
                return False
            self._cursor = after
        self._on_move()
        return True

    def announce(self, before: Cursor, label: str, head: LabelHead) -> bool:
        with self._lock:
            now = self._cursor
            if now is None or now.rev.epoch != before.rev.epoch:
                return False
            if _seq(now, label) != _seq(before, label):
                standing = now.labels.get(label)
                return standing is not None and standing.commit == head.commit
            moved = replace(head, seq=now.rev.seq + 1)
            self._cursor = replace(now, rev=_next(now), labels={**now.labels, label: moved})
        self._on_move()
        return True

    def adopt(self, epoch: str, path: SecretPath, found: Known) -> Known:
        with self._lock:
            now = self._cursor
            if now is None or now.rev.epoch != epoch:
                return found
            if path not in now.secrets:
                self._cursor = replace(now, secrets={**now.secrets, path: found})
            return now.secrets.get(path, found)

    def in_use(self) -> Mapping[SecretPath, Known]:
        return self._cursor.secrets if self._cursor else {}

    def rotate(self, epoch: str, path: SecretPath, before: Known, after: Known) -> bool:
        with self._lock:
            now = self._cursor
            if now is None or now.rev.epoch != epoch or now.secrets.get(path) != before:
                return False
            self._cursor = replace(now, rev=_next(now), secrets={**now.secrets, path: after})
        self._on_move()
        return True


def _rev(cursor: Cursor | None) -> Rev | None:
    return cursor.rev if cursor else None


def _next(cursor: Cursor) -> Rev:
    return replace(cursor.rev, seq=cursor.rev.seq + 1)


def _seq(cursor: Cursor, label: str) -> int:
    head = cursor.labels.get(label)
    return head.seq if head else 0
