"""What every request has in common: an id, headers that keep answers private, a line in the log, denials on record."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import ExitStack

from flask import Flask, Response, g, request

from app.audit import AuditAggregate, AuditEvent, Outcome
from app.errors import BadInput
from app.model import Stale
from app.observability import Metrics, access_line, bind_request, clear_request, is_tracing, request_span
from app.observability.flask_metrics import route

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_STREAMS = frozenset({"stream.websocket", "stream.events"})
_QUIET = frozenset({"health.live", "health.ready", "health.metrics"})
#: Blueprints whose good answers to GET are the many: what services read.
_HOT = frozenset({"config", "spring"})

SECURITY_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


def install(app: Flask, audit: AuditAggregate, metrics: Metrics, *, log_one_of: int = 1) -> None:
    """Before the guard, so that what it refuses has an id and a line too.

    Of reads that went well one of `log_one_of` has a line; whatever else has one always, and the trail is none of this.
    """
    reads = itertools.count()

    def deny(status: int) -> None:
        principal = g.get("principal")
        metrics.count_denial("forbidden" if status == 403 else "unauthenticated")
        audit.denied(
            AuditEvent(
                f"{request.method} {route(request)}",
                Outcome.DENIED,
                request_id=g.request_id,
                subject=principal.subject if principal else None,
                issuer=principal.issuer if principal else None,
                target=g.get("topic") or _target(),
                address=request.remote_addr,
            )
        )

    def before() -> None:
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        g.started = time.perf_counter()
        bind_request(g.request_id)
        if is_tracing() and request.endpoint not in _STREAMS | _QUIET:
            g.trace = ExitStack()
            name = f"{request.method} {route(request)}" if request.endpoint else "no route"
            g.tell_trace = g.trace.enter_context(request_span(name, dict(request.headers)))

    def after(response: Response) -> Response:
        if "tell_trace" in g:
            g.tell_trace(response.status_code)
        if response.status_code in {401, 403} or g.get("too_many_attempts"):
            deny(response.status_code)
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["X-Request-ID"] = g.request_id
        response.headers.setdefault("Cache-Control", "no-store, private")
        if request.endpoint not in _STREAMS | _QUIET:
            if not _is_hot(response):
                _log(response)
            elif next(reads) % log_one_of == 0:
                _log(response, None if log_one_of == 1 else log_one_of)
        return response

    app.before_request(before)
    app.after_request(after)
    app.teardown_request(_end)


def _end(_error: BaseException | None) -> None:
    if "trace" in g:
        g.trace.close()
    clear_request()


def _is_hot(response: Response) -> bool:
    return request.blueprint in _HOT and request.method == "GET" and response.status_code in {200, 304}


def _log(response: Response, sampled: int | None = None) -> None:
    principal = g.get("principal")
    access_line(
        method=request.method,
        route=route(request),
        status=response.status_code,
        seconds=time.perf_counter() - g.started,
        address=request.remote_addr or "",
        subject=principal.subject if principal else None,
        topic=g.get("topic") or _target(),
        size=response.calculate_content_length(),
        sampled=sampled,
    )


def _target() -> str | None:
    """The coordinates in the path, for the log and the trail; whoever writes them escapes and shortens them."""
    arguments = request.view_args or {}
    return f"{arguments['service']}/{arguments['env']}" if "service" in arguments and "env" in arguments else None


def instance_header() -> str | None:
    """Which instance of a service asks, if it says so. Raises BadInput."""
    given = request.headers.get("X-Config-Instance")
    if given is not None and not (given.isprintable() and given.isascii() and 0 < len(given) <= 128):
        raise BadInput("X-Config-Instance", "1 to 128 printable ASCII characters")
    return given


def stale_header(stale: tuple[Stale, ...]) -> str:
    """X-Config-Stale as a list of RFC 9651: `git;since="...", invalid;since="...";commit="..."`."""
    return ", ".join(
        f'{each.reason.value};since="{each.since}"' + (f';commit="{each.commit}"' if each.commit else "")
        for each in stale
    )
