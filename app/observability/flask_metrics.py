"""Request durations and counts by route template, through prometheus-flask-exporter.

The exporter creates the histogram; `Metrics.observe_request` feeds the same one, for ways in that pass Flask by.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Final

from flask import Flask, Request, Response, g, request
from prometheus_client import Counter, Histogram
from prometheus_flask_exporter import PrometheusMetrics

from app.observability.families import PREFIX, REQUEST_BUCKETS
from app.observability.metrics import METHODS, Metrics

UNMATCHED: Final = "unmatched"


def route(of: Request) -> str:
    """The template of the route (`/v1/config/<service>/<env>`), one word for all that match none. Names the label."""
    return of.url_rule.rule if of.url_rule is not None else UNMATCHED


def install(app: Flask, metrics: Metrics, untimed: Collection[str] = ()) -> None:
    """Measure every request of `app`; call it before any hook that may refuse one, so that refusals are measured.

    `untimed` are the endpoints of streams, whose duration is not a latency. No route is added. Raises ValueError when
    `metrics` measures another app already.
    """
    name = f"{PREFIX}_http_request"
    if metrics.owned.holds(f"{name}_duration_seconds"):
        raise ValueError("these Metrics measure another app already")
    endpoints = frozenset(untimed)

    @app.before_request
    def look() -> None:
        if request.endpoint in endpoints:
            leave_untimed()
        elif request.method not in METHODS:
            # The exporter would take the method as it came, and a client could make a series per request.
            leave_untimed()
            g.odd_method_since = time.perf_counter()

    @app.after_request
    def count_odd_method(response: Response) -> Response:
        since = g.pop("odd_method_since", None)
        if since is not None:
            metrics.observe_request(request.method, route(request), response.status_code, time.perf_counter() - since)
        return response

    owned = metrics.owned
    PrometheusMetrics(app, path=None, group_by=route, defaults_prefix=PREFIX, buckets=REQUEST_BUCKETS, registry=owned)
    metrics.use_requests(owned.find(Histogram, f"{name}_duration_seconds"), owned.find(Counter, name))


def leave_untimed() -> None:
    """Keep the current request out of the histogram: it waits (a long poll) or streams."""
    # What the exporter's own decorator `do_not_track` does, for a request instead of a view.
    request.prom_do_not_track = True  # type: ignore[attr-defined] # the exporter's mark, which Flask does not know
