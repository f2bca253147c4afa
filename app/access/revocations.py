"""Revoked tokens and subjects: held in full by every worker, kept on disk and in Redis, united after any loss."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from app.cache import RedisLink
from app.errors import BusUnavailable
from app.model import Principal

KINDS = ("jti", "sub")


class Revocations:
    """Thread-safe. An entry is `kind:issuer:value` with the Unix time at which it may be forgotten.

    `sync` is called every few seconds: it takes over what others have revoked and publishes again what Redis has lost,
    so a revocation survives an emptied Redis, a restart, and a copy rolled back. A time never shrinks.
    """

    def __init__(
        self,
        path: Path,
        link: RedisLink | None,
        *,
        on_change: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._link = link
        self._on_change = on_change
        self._clock = clock
        self._lock = threading.Lock()  # guards the swap of _entries, and the file
        self._entries: Mapping[str, float] = self._read_file()

    def is_revoked(self, principal: Principal) -> bool:
        """Two dictionary look-ups; asked at every request and every wake-up of a stream."""
        entries = self._entries
        if not entries:
            return False
        now = self._clock()
        names = [("sub", principal.subject)]
        if principal.token_id is not None:
            names.append(("jti", principal.token_id))
        return any(entries.get(entry_name(kind, principal.issuer, value), 0.0) > now for kind, value in names)

    def revoke(self, kind: str, issuer: str, value: str, until: float) -> None:
        """Refuse from now on. On disk and, if Redis answers, known to everybody, when this returns.

        Raises OSError when it cannot be written down: then it is not done.
        """
        self._unite({entry_name(kind, issuer, value): until}, strict=True)
        self.sync()

    def sync(self) -> None:
        """Unite with what Redis knows, both ways."""
        if self._link is None:
            return
        key = self._link.key("revocations")
        with suppress(BusUnavailable):  # made good by the next call
            shared = self._link.call(lambda client: cast("dict[bytes, bytes]", client.hgetall(key)))
            theirs = {name.decode(): float(until) for name, until in shared.items()}
            self._unite(theirs, strict=False)
            lost: dict[Any, Any] = {
                name: str(until) for name, until in self._entries.items() if theirs.get(name, 0.0) < until
            }
            if lost:
                self._link.call(lambda client: client.hset(key, mapping=lost))

    def _unite(self, others: Mapping[str, float], *, strict: bool) -> None:
        now = self._clock()
        with self._lock:
            mine = dict(self._entries)
            for name, until in others.items():
                mine[name] = max(until, mine.get(name, 0.0))
            united = {name: until for name, until in mine.items() if until > now}
            if united == self._entries:
                return
            try:
                self._write_file(united)
            except OSError:
                if strict:
                    raise
            self._entries = united
        self._on_change()

    def _read_file(self) -> dict[str, float]:
        try:
            data: Any = json.loads(self._path.read_bytes())
            return {str(name): float(until) for name, until in data["entries"].items()} if data["v"] == 1 else {}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _write_file(self, entries: Mapping[str, float]) -> None:
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".revocations-")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump({"v": 1, "entries": entries}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def entry_name(kind: str, issuer: str, value: str) -> str:
    return json.dumps([kind, issuer, value])
