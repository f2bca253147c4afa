"""What every request has in common: an id, headers that keep answers private, a line in the log, denials on record."""

from __future__ import annotations

import itertools
import os
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


class ReadLines:
    """Of reads that went well one of `one_of` has a line in the log; the trail is none of this. Thread-safe."""

    def __init__(self, one_of: int = 1) -> None:
        self._one_of = one_of
        self._reads = itertools.count()
        #: What a line says of those that have none.
        self.sampled = None if one_of == 1 else one_of

    def next_has_one(self) -> bool:
        return next(self._reads) % self._one_of == 0


def install(app: Flask, audit: AuditAggregate, metrics: Metrics, read_lines: ReadLines) -> None:
    """Before the guard, so that what it refuses has an id and a line too; whatever is no good read has one always."""

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
        g.request_id = request_id(request.headers.get("X-Request-ID"))
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
            elif read_lines.next_has_one():
                _log(response, read_lines.sampled)
        return response

    app.before_request(before)
    app.after_request(after)
    app.teardown_request(_end)


def request_id(given: str | None) -> str:
    """The caller's, if it is one, else a new one. Many are drawn at once: the system takes long to be asked."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    try:
        return _ids.pop()
    except IndexError:
        _ids.extend(secrets.token_hex(8) for _ in range(_IDS - 1))
        return secrets.token_hex(8)


_IDS = 256
_ids: list[str] = []
os.register_at_fork(after_in_child=_ids.clear)


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
    if given is not None and not is_instance(given):
        raise BadInput("X-Config-Instance", "1 to 128 printable ASCII characters")
    return given


def is_instance(given: str) -> bool:
    return given.isprintable() and given.isascii() and 0 < len(given) <= 128


def stale_header(stale: tuple[Stale, ...]) -> str:
    """X-Config-Stale as a list of RFC 9651: `git;since="...", invalid;since="...";commit="..."`."""
    return ", ".join(
        f'{each.reason.value};since="{each.since}"' + (f';commit="{each.commit}"' if each.commit else "")
        for each in stale
    )
