"""The metric families: name, help, labels, buckets, and how the values of several workers become one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.registry import Collector

PREFIX: Final = "config_server"

#: From a remembered read (0.2 ms) to a hanging remote (seconds).
REQUEST_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
RESOLVE_BUCKETS: Final = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
FETCH_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0)

#: How the gauges of workers are put together: `live…` leaves out the workers that are gone.
Mode: TypeAlias = Literal["livesum", "livemax", "livemin", "max"]

_Family = TypeVar("_Family", bound=Collector)


class OwnedRegistry(CollectorRegistry):
    """Registers into another registry and remembers what, so that it can be found again and taken back."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry
        self._owned: list[Collector] = []
        self._owned_lock = threading.Lock()  # guards _owned

    def register(self, collector: Collector) -> None:
        """Raises ValueError when a metric of that name is already in the registry."""
        self._registry.register(collector)
        with self._owned_lock:
            self._owned.append(collector)

    def holds(self, name: str) -> bool:
        """Whether a metric of ours has this family name."""
        with self._owned_lock:
            owned = list(self._owned)
        return any(family.name == name for collector in owned for family in collector.collect())

    def find(self, kind: type[_Family], name: str) -> _Family:
        """The metric of that kind whose family is called `name` (a counter's without `_total`). Raises KeyError."""
        with self._owned_lock:
            owned = list(self._owned)
        for collector in owned:
            if isinstance(collector, kind) and any(family.name == name for family in collector.collect()):
                return collector
        raise KeyError(name)

    def release(self) -> None:
        """Take everything out of the registry again."""
        with self._owned_lock:
            owned, self._owned = self._owned, []
        for collector in owned:
            self._registry.unregister(collector)


@dataclass(frozen=True, slots=True)
class Families:
    """Every metric of ours but the ones of HTTP requests, which prometheus-flask-exporter makes."""

    fetches: Counter
    fetch_seconds: Histogram
    last_fetch: Gauge
    further_last_fetch: Gauge
    resolve_seconds: Histogram
    vault_read_seconds: Histogram
    cache_hits: Counter
    cache_misses: Counter
    streams: Gauge
    streams_limit: Gauge
    stream_connections: Counter
    long_polls: Gauge
    changes_pushed: Counter
    push_seconds: Histogram
    held_back: Gauge
    withheld: Gauge
    stale: Gauge
    cursor_seq: Gauge
    audit_records: Counter
    audit_failures: Counter
    notices: Counter
    denials: Counter
    jwks_fetched: Gauge
    bus_up: Gauge
    build_info: Gauge


def create_families(registry: CollectorRegistry) -> Families:
    """Create them all in `registry`. Raises ValueError when they are already there."""
    make = _Maker(registry)
    return Families(
        fetches=make.counter("git_fetches", "Fetches from the Git remote.", "outcome"),
        fetch_seconds=make.histogram("git_fetch_duration_seconds", "Time of a fetch.", FETCH_BUCKETS),
        # `max` outlives the worker that pulled: the mirror it left behind is as fresh as before
        last_fetch=make.gauge("git_last_success_timestamp_seconds", "When a fetch last succeeded (0: never).", "max"),
        further_last_fetch=make.gauge(
            "git_further_last_success_timestamp_seconds",
            "When a fetch of a further repository last succeeded.",
            "max",
            "repository",
        ),
        resolve_seconds=make.histogram(
            "resolve_duration_seconds", "Time to resolve a target, secrets included.", RESOLVE_BUCKETS
        ),
        vault_read_seconds=make.histogram(
            "vault_read_duration_seconds", "Time of a read from Vault.", RESOLVE_BUCKETS, "outcome"
        ),
        cache_hits=make.counter("cache_hits", "Lookups answered by a cache.", "cache"),
        cache_misses=make.counter("cache_misses", "Lookups a cache could not answer.", "cache"),
        streams=make.gauge("streams_open", "Streams open now.", "livesum", "transport"),
        streams_limit=make.gauge("streams_limit", "Streams that the workers may hold.", "livesum"),
        stream_connections=make.counter("stream_connections", "Attempts to open a stream.", "transport", "outcome"),
        long_polls=make.gauge("long_polls_waiting", "Requests waiting for a change.", "livesum"),
        changes_pushed=make.counter("changes_pushed", "Change frames sent to streams.", "op"),
        push_seconds=make.histogram(
            "push_duration_seconds", "From a revision found to the last of its subscribers told.", REQUEST_BUCKETS
        ),
        held_back=make.gauge("targets_held_back", "Targets served from an older, good version.", "livemax"),
        withheld=make.gauge("labels_withheld", "Labels whose head is not served, as it is not signed.", "livemax"),
        stale=make.gauge("stale", "1 while something is served stale for this reason.", "livemax", "reason"),
        cursor_seq=make.gauge("cursor_seq", "Sequence number of the newest installed revision.", "livemax"),
        audit_records=make.counter("audit_records", "Records written to the audit trail."),
        audit_failures=make.counter("audit_failures", "Records the audit trail could not write or had to drop."),
        notices=make.counter("notices", "Webhooks sent, by how they ended.", "outcome"),
        denials=make.counter("denials", "Requests and streams denied.", "kind"),
        jwks_fetched=make.gauge(
            "jwks_last_success_timestamp_seconds", "When signing keys were last fetched, oldest worker.", "livemin"
        ),
        bus_up=make.gauge("bus_up", "1 while every worker reaches the bus.", "livemin"),
        build_info=make.gauge("build_info", "Always 1; the version is in the labels.", "max", "version", "python"),
    )


class _Maker:
    """Creates metrics under our prefix in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace=PREFIX, registry=self._registry)

    def gauge(self, name: str, text: str, mode: Mode, *labels: str) -> Gauge:
        return Gauge(name, text, labels, namespace=PREFIX, registry=self._registry, multiprocess_mode=mode)

    def histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, text, labels, namespace=PREFIX, registry=self._registry, buckets=buckets)
