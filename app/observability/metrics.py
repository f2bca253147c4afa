"""The server's measurements as verbs: what happened, in words of bounded tables."""

from __future__ import annotations

import os
import platform
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder

from app.observability.families import OwnedRegistry, create_families
from app.observability.multiprocess import collecting

OTHER: Final = "other"

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
FETCH_OUTCOMES: Final = frozenset({"ok", "failed"})
VAULT_OUTCOMES: Final = frozenset({"ok", "denied", "unavailable"})
CACHES: Final = frozenset({"local", "shared", "parse"})
TRANSPORTS: Final = frozenset({"websocket", "sse"})
STREAM_OUTCOMES: Final = frozenset({"opened", "refused"})
CHANGE_OPS: Final = frozenset({"put", "patch", "del", "state"})
STALE_REASONS: Final = frozenset({"git", "vault", "invalid", "secret", "behind", "held"})
NOTICE_OUTCOMES: Final = frozenset({"delivered", "failed", "dropped"})
DENIALS: Final = frozenset({"unauthenticated", "forbidden", "origin", "limit"})

#: Routes times methods times statuses that really occur stay far below this; beyond it something passes paths.
_MAX_REQUEST_SERIES: Final = 2000


def _word(word: str, table: frozenset[str]) -> str:
    return word if word in table else OTHER


class Metrics:
    """All metrics of one server, in one registry.

    Thread-safe. Outcomes, kinds and reasons are words of the tables above; another word counts as `other`, so that
    nothing from outside makes a series. Durations are in seconds, points in time Unix seconds.
    """

    def __init__(self, registry: CollectorRegistry | None = None, version: str = "unknown") -> None:
        """Create the metrics in `registry` (default: a new one).

        Raises ValueError when they are already there: two servers of one process take a registry each, or the first
        calls `close`. When PROMETHEUS_MULTIPROC_DIR was set before prometheus_client was imported, the values live
        in files of that directory and `render` adds up all processes.
        """
        self._registry = registry if registry is not None else CollectorRegistry()
        directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        self._directory = Path(directory) if directory else None
        #: Where further metrics of this server are registered (flask_metrics does), so that `close` takes them back.
        self.owned: Final = OwnedRegistry(self._registry)
        try:
            self.families: Final = create_families(self.owned)
        except ValueError:
            self.owned.release()
            raise
        self._requests: tuple[Histogram, Counter] | None = None
        #: Children by (method, route, status): looking a child up by labels costs more than observing it.
        self._children: Mapping[tuple[str, str, int], tuple[Histogram, Counter]] = MappingProxyType({})
        self._noted: deque[str] = deque()
        self.families.build_info.labels(version, platform.python_version()).set(1)

    def close(self) -> None:
        """Take every metric out of the registry, for the next server that uses it."""
        self.owned.release()

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The scrape as (body, content type): of all processes in multiprocess mode, else of the registry.

        `accept` is the request's Accept header, for OpenMetrics. A filter like `name[]` is ignored: Prometheus never
        sends one, and a restricted registry fails in multiprocess mode.
        """
        encode, content_type = choose_encoder(accept)
        if self._directory is None:
            return encode(self._registry), content_type
        with collecting(self._directory) as registry:
            return encode(registry), content_type

    # -- HTTP

    def use_requests(self, durations: Histogram, total: Counter) -> None:
        """Take the histogram (method, route, status) and counter (method, status) that `observe_request` feeds."""
        self._requests = (durations, total)

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that did not pass through Flask's hooks, in the very histogram that those feed.

        `route` is a template, never a path.
        """
        durations, total = self.request_series(method, route, status)
        durations.observe(seconds)
        total.inc()

    def request_series(self, method: str, route: str, status: int) -> tuple[Histogram, Counter]:
        """What `observe_request` feeds, for who comes again and again with the same."""
        key = (_word(method, METHODS), route, status)
        return self._children.get(key) or self._request_children(key)

    def _request_children(self, key: tuple[str, str, int]) -> tuple[Histogram, Counter]:
        if self._requests is None:
            raise RuntimeError("no request metrics: flask_metrics.install(app, metrics) comes first")
        if len(self._children) >= _MAX_REQUEST_SERIES:
            key = (key[0], OTHER, key[2])
        method, route, status = key
        children = (self._requests[0].labels(method, route, status), self._requests[1].labels(method, status))
        self._children = MappingProxyType({**self._children, key: children})
        return children

    # -- Git, resolving, Vault, caches

    def observe_fetch(self, outcome: str, seconds: float) -> None:
        """A fetch ended as one of FETCH_OUTCOMES."""
        self.families.fetches.labels(_word(outcome, FETCH_OUTCOMES)).inc()
        self.families.fetch_seconds.observe(seconds)

    def set_last_fetch(self, timestamp: float) -> None:
        self.families.last_fetch.set(timestamp)

    def set_further_fetched(self, repository: str, timestamp: float) -> None:
        """`repository` is one that the server's settings name."""
        self.families.further_last_fetch.labels(repository).set(timestamp)

    def observe_resolve(self, seconds: float) -> None:
        self.families.resolve_seconds.observe(seconds)

    def observe_vault_read(self, outcome: str, seconds: float) -> None:
        """A read from Vault ended as one of VAULT_OUTCOMES."""
        self.families.vault_read_seconds.labels(_word(outcome, VAULT_OUTCOMES)).observe(seconds)

    def count_cache(self, cache: str, *, hit: bool) -> None:
        """A lookup in one of CACHES."""
        family = self.families.cache_hits if hit else self.families.cache_misses
        family.labels(_word(cache, CACHES)).inc()

    # -- streams

    def count_stream(self, transport: str, outcome: str) -> None:
        """An attempt to open a stream ended as one of STREAM_OUTCOMES."""
        labels = _word(transport, TRANSPORTS), _word(outcome, STREAM_OUTCOMES)
        self.families.stream_connections.labels(*labels).inc()

    def add_stream(self, transport: str, change: int) -> None:
        """+1 when a stream opens, -1 when it closes."""
        self.families.streams.labels(_word(transport, TRANSPORTS)).inc(change)

    def set_streams_limit(self, streams: int) -> None:
        """How many this worker may hold."""
        self.families.streams_limit.set(streams)

    def add_long_poll(self, change: int) -> None:
        """+1 when a request starts to wait, -1 when it ends."""
        self.families.long_polls.inc(change)

    def count_pushed(self, op: str, frames: int = 1) -> None:
        """`frames` change frames of one of CHANGE_OPS were handed to streams."""
        self.families.changes_pushed.labels(_word(op, CHANGE_OPS)).inc(frames)

    def note_pushed(self, op: str) -> None:
        """One such frame, counted by the next `settle`: a change is noted thousands of times in a row."""
        self._noted.append(op)

    def settle(self) -> None:
        """Count what was noted."""
        noted: dict[str, int] = {}
        while self._noted:
            with suppress(IndexError):  # another thread settles as well
                op = self._noted.popleft()
                noted[op] = noted.get(op, 0) + 1
        for op, frames in noted.items():
            self.count_pushed(op, frames)

    def observe_push(self, seconds: float) -> None:
        """From a revision found to the last of its subscribers told."""
        self.families.push_seconds.observe(seconds)

    # -- state

    def set_held_back(self, targets: int) -> None:
        self.families.held_back.set(targets)

    def set_withheld(self, labels: int) -> None:
        self.families.withheld.set(labels)

    def set_stale(self, reason: str, *, stale: bool) -> None:
        """Whether anything is served stale for one of STALE_REASONS."""
        self.families.stale.labels(_word(reason, STALE_REASONS)).set(stale)

    def set_cursor(self, seq: int) -> None:
        self.families.cursor_seq.set(seq)

    def set_bus_up(self, *, up: bool) -> None:
        self.families.bus_up.set(up)

    def set_jwks_fetched(self, timestamp: float) -> None:
        self.families.jwks_fetched.set(timestamp)

    # -- audit and access

    def count_audit(self, records: int = 1) -> None:
        self.families.audit_records.inc(records)

    def count_audit_failure(self, records: int = 1) -> None:
        self.families.audit_failures.inc(records)

    def count_notice(self, outcome: str) -> None:
        """A notice to a receiver outside ended as one of NOTICE_OUTCOMES."""
        self.families.notices.labels(_word(outcome, NOTICE_OUTCOMES)).inc()

    def count_denial(self, kind: str) -> None:
        """A request or stream was denied for one of DENIALS."""
        self.families.denials.labels(_word(kind, DENIALS)).inc()
