"""Reading the trail back, newest first: by what a record says, page by page, from this host's files or from Redis."""

from __future__ import annotations

import base64
import heapq
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, TypeAlias

from app.aside import in_slices
from app.audit.files import chains_in
from app.audit.shared import SharedTrail
from app.audit.tail import number_of
from app.errors import AuditUnavailable, BadInput

_BLOCK: Final = 1 << 16
_STREAM_ID: Final = re.compile(r"\d{1,18}-\d{1,18}", re.ASCII)
_BATCH: Final = 500
#: Records that one page looks at; what matches comes with it, and where to go on.
MAX_LOOKED_AT: Final = 20_000

Record: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """What a record must be. `action` is a glob; `target` a topic, or the beginning of one at a `/`; `since` and
    `until` are RFC 3339 in UTC with milliseconds, as records have them: from the one up to, not including, the other.
    """

    subject: str | None = None
    action: str | None = None
    target: str | None = None
    outcome: str | None = None
    version: str | None = None
    request_id: str | None = None
    since: str | None = None
    until: str | None = None

    def takes(self, record: Record) -> bool:
        for name in ("subject", "outcome", "version", "request_id"):
            wanted = getattr(self, name)
            if wanted is not None and record.get(name) != wanted:
                return False
        told = str(record.get("time", ""))
        if (self.since is not None and told < self.since) or (self.until is not None and told >= self.until):
            return False
        if self.action is not None and not fnmatchcase(str(record.get("action", "")), self.action):
            return False
        target = str(record.get("target") or "")
        return self.target is None or target == self.target or target.startswith(f"{self.target}/")


#: A record with where to go on after it.
_Placed: TypeAlias = tuple[Record, str]


class AuditView:
    """Thread-safe. `shared` None: there is no trail but this host's."""

    def __init__(self, directory: Path, host: Callable[[], str], shared: SharedTrail | None) -> None:
        self._directory = directory
        self._host = host
        self._shared = shared

    @property
    def has_cluster(self) -> bool:
        return self._shared is not None

    def page(self, wanted: Filter, *, cluster: bool, cursor: str | None, limit: int) -> tuple[list[Record], str | None]:
        """At most `limit` records and the cursor of the next page, None at the end.

        A page may be short, or empty, and not the last: it looks at so many records and no more. Raises BadInput for a
        cursor that is none, BusUnavailable, AuditUnavailable.
        """
        found: list[Record] = []
        next_cursor: str | None = cursor
        for number, (record, place) in enumerate(self._records(cluster=cluster, cursor=cursor)):
            if number == MAX_LOOKED_AT:
                return found, next_cursor
            next_cursor = place
            if wanted.takes(record):
                found.append(record)
                if len(found) == limit:
                    return found, next_cursor
        return found, None

    def all(self, wanted: Filter, *, cluster: bool) -> Iterator[Record]:
        """Every record that is known. Raises as `page` does, while it is read."""
        return (record for record, _ in self._records(cluster=cluster, cursor=None) if wanted.takes(record))

    def _records(self, *, cluster: bool, cursor: str | None) -> Iterator[_Placed]:
        records = self._of_cluster(cursor) if cluster and self._shared is not None else self._of_host(cursor)
        try:
            yield from in_slices(records)
        except OSError as exc:
            raise AuditUnavailable("the audit trail cannot be read") from exc

    def _of_cluster(self, cursor: str | None) -> Iterator[_Placed]:
        before = "+" if cursor is None else cursor
        if cursor is not None and not _STREAM_ID.fullmatch(cursor):
            raise BadInput("cursor", "is not one of a page of the cluster's records")
        while self._shared is not None and (page := self._shared.page(before, _BATCH)):
            for before, host, line in page:
                record = _parsed(line)
                if record is not None:
                    yield {"host": host, **record}, before

    def _of_host(self, cursor: str | None) -> Iterator[_Placed]:
        """The chains are merged by time. The cursor is the number of each chain's record that was given last."""
        below = _places(cursor)
        host = self._host()
        chains = [self._chain(name, below.get(name)) for name in sorted(chains_in(self._directory))]
        for record in heapq.merge(*chains, key=lambda each: str(each.get("time", "")), reverse=True):
            below[str(record["chain"])] = int(record["seq"])
            yield {"host": host, **record}, _cursor(below)

    def _chain(self, name: str, below: int | None) -> Iterator[Record]:
        files = chains_in(self._directory)[name]
        paths = [files.current] if files.current else []
        paths += [path for last, path in reversed(files.closed)]
        for path in paths:
            for line in _reversed_lines(path):
                if (below is None or number_of(line) < below) and (record := _parsed(line)) is not None:
                    yield record


def _reversed_lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a file from the last to the first; what is appended meanwhile is left out."""
    with path.open("rb") as file:
        start, rest = file.seek(0, os.SEEK_END), b""
        while start > 0:
            step = min(_BLOCK, start)
            start -= step
            lines = (os.pread(file.fileno(), step, start) + rest).split(b"\n")
            rest = lines[0]
            yield from (line for line in reversed(lines[1:]) if line)
        if rest:
            yield rest


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A record as a file or the stream holds it; None for what is damaged, which `verify` points at."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    known = isinstance(record, dict) and isinstance(record.get("chain"), str) and isinstance(record.get("seq"), int)
    return record if known else None


def _cursor(below: Mapping[str, int]) -> str:
    return base64.urlsafe_b64encode(json.dumps(below, separators=(",", ":")).encode()).decode().rstrip("=")


def _places(cursor: str | None) -> dict[str, int]:
    if cursor is None:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return {str(name): int(seq) for name, seq in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise BadInput("cursor", "is not one of a page of this host's records") from None
