"""Revoked tokens and subjects: held in full by every worker, kept on disk and in Redis, united after any loss."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import structlog

from app.cache import RedisLink
from app.errors import BusUnavailable, Unavailable
from app.model import Principal

log = structlog.get_logger(__name__)

KINDS = ("jti", "sub")


class Revocations:
    """Thread-safe. An entry is `[kind, issuer, value]` with the Unix time at which it may be forgotten.

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
        """`path`: the file of this host, which its workers share. `on_change` is told when there are more or fewer."""
        self._path = path
        self._link = link
        self._on_change = on_change
        self._clock = clock
        self._lock = threading.Lock()  # guards the swap of _entries, and _written
        self._seen = _signature(path)  # of the file, when it was last read
        self._entries: Mapping[str, float] = _read(path)
        self._written = self._entries

    def is_revoked(self, principal: Principal) -> bool:
        """Two dictionary look-ups; asked at every request and every wake-up of a stream."""
        entries = self._entries
        if not entries:
            return False
        now = self._clock()
        names = [entry_name("sub", principal.issuer, principal.subject)]
        if principal.token_id is not None:
            names.append(entry_name("jti", principal.issuer, principal.token_id))
        return any(entries.get(name, 0.0) > now for name in names)

    def revoke(self, kind: str, issuer: str, value: str, until: float) -> None:
        """Refuse from now on until `until` (Unix seconds). On disk and, if Redis answers, known to everybody after it.

        Raises Unavailable when it cannot be written down: then it is not done.
        """
        try:
            self._unite({entry_name(kind, issuer, value): until}, strict=True)
        except OSError as exc:
            raise Unavailable("the revocation cannot be written down, so it is not done") from exc
        self.sync()

    def sync(self) -> None:
        """Unite with what Redis knows, both ways, and with what other workers of this host have written down.

        A worker whose Redis was away for a moment has told the disk alone. Writes down what could not be before.
        """
        theirs = self._on_disk()
        with suppress(BusUnavailable):  # made good by the next call
            shared = self._shared()
            theirs = self._with(shared, theirs)
            self._publish(shared)
        self._unite(theirs, strict=False)

    def _on_disk(self) -> dict[str, float]:
        """What the file tells, if it is another than it was."""
        signature = _signature(self._path)
        if signature == self._seen:
            return {}
        self._seen = signature
        return _read(self._path)

    def _shared(self) -> dict[str, float]:
        link = self._link
        if link is None:
            return {}
        shared = link.call(lambda client: cast("dict[bytes, bytes]", client.hgetall(link.key("revocations"))))
        return _entries_of({name.decode("utf-8", "replace"): until for name, until in shared.items()})

    def _publish(self, theirs: Mapping[str, float]) -> None:
        """Tell Redis what it has lost, and let it forget what is over."""
        link, now = self._link, self._clock()
        if link is None:
            return
        key = link.key("revocations")
        lost: dict[Any, Any] = {n: str(until) for n, until in self._entries.items() if theirs.get(n, 0.0) < until}
        over = [name for name, until in theirs.items() if until <= now]
        if lost:
            link.call(lambda client: client.hset(key, mapping=lost))
        if over:
            link.call(lambda client: client.hdel(key, *over))

    def _unite(self, others: Mapping[str, float], *, strict: bool) -> None:
        """Add `others`. With `strict` only if they can be written down (OSError); else in memory at least."""
        with self._lock:
            united = self._with(others, self._entries)
            changed = united != self._entries
            if united == self._written and not changed:
                return
            try:
                with _alone(self._path):  # the other workers of the host write their own at the same time
                    united = self._with(united, _read(self._path))
                    _write(self._path, united)
                self._written = united
            except OSError as exc:
                if strict:
                    raise
                log.error("revocations.not_written", reason=exc.strerror)
            changed = united != self._entries
            self._entries = united
        if changed:
            self._on_change()

    def _with(self, others: Mapping[str, float], mine: Mapping[str, float]) -> dict[str, float]:
        now = self._clock()
        longest = {name: max(until, mine.get(name, 0.0)) for name, until in {**mine, **others}.items()}
        return {name: until for name, until in longest.items() if until > now}


def entry_name(kind: str, issuer: str, value: str) -> str:
    return json.dumps([kind, issuer, value])


def _entries_of(data: Mapping[str, Any]) -> dict[str, float]:
    """Without what nobody of ours wrote: one bad entry must not hide the others."""
    found: dict[str, float] = {}
    for name, until in data.items():
        with suppress(ValueError, TypeError):
            found[name] = float(until)
    return found


def _signature(path: Path) -> tuple[int, int] | None:
    """Another for each file that has taken this one's place."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _read(path: Path) -> dict[str, float]:
    try:
        data: Any = json.loads(path.read_bytes())
        return _entries_of(data["entries"]) if data["v"] == 1 else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        log.error("revocations.unreadable", file=path.name)
        return {}


def _write(path: Path, entries: Mapping[str, float]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".revocations-")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump({"v": 1, "entries": entries}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time; the lock goes with the descriptor."""
    descriptor = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
