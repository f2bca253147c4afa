"""The one line per request, and the two per stream (opening and closing)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import structlog

from app.observability.logs import FIELD_NAMES, fields_json, info_line

_LOGGER = "access"
_DURATION = FIELD_NAMES["duration_ms"]


class AccessLine:
    """What is known of a request's line before it has ended, written down: for requests that come again and again.

    `route` is the template (`/v1/config/<service>/<env>`), `size` the body in bytes. `sampled`: of how many alike one
    has a line.
    """

    __slots__ = ("_about", "_fields", "_what")

    def __init__(
        self,
        *,
        method: str,
        route: str,
        status: int,
        topic: str | None = None,
        size: int | None = None,
        sampled: int | None = None,
    ) -> None:
        what: dict[str, Any] = {"method": method, "route": route, "status": status}
        about: dict[str, Any] = {"topic": topic, "size": size, "sampled": sampled}
        self._fields = {**what, **about}
        self._what, self._about = fields_json(**what), fields_json(**about)

    def write(self, *, seconds: float, address: str, subject: str | None, request_id: str | None = None) -> None:
        """`seconds` is the duration, `address` the peer. `request_id` is needed only outside a thread where
        `bind_request` was called."""
        duration = round(seconds * 1000, 3)
        fields = f'{self._what},"{_DURATION}":{duration}{_whom(address, subject)}{self._about}'
        if not info_line(_LOGGER, "request", fields, request_id):
            more = {"duration_ms": duration, "address": address, "subject": subject, "request_id": request_id}
            structlog.get_logger(_LOGGER).info("request", **self._fields, **more)


@lru_cache(8192)
def _whom(address: str, subject: str | None) -> str:
    return fields_json(address=address, subject=subject)


@lru_cache(1024)
def _line(method: str, route: str, status: int, topic: str | None, size: int | None, sampled: int | None) -> AccessLine:
    return AccessLine(method=method, route=route, status=status, topic=topic, size=size, sampled=sampled)


def access_line(
    *,
    method: str,
    route: str,
    status: int,
    seconds: float,
    address: str,
    subject: str | None = None,
    topic: str | None = None,
    size: int | None = None,
    sampled: int | None = None,
    request_id: str | None = None,
) -> None:
    """Write the line of one finished request; see `AccessLine` for what it says."""
    line = _line(method, route, status, topic, size, sampled)
    line.write(seconds=seconds, address=address, subject=subject, request_id=request_id)


def stream_opened(*, transport: str, address: str, subject: str | None, **more: Any) -> None:
    """Write the opening line of a stream. `transport` is `websocket` or `sse`."""
    _stream("open", transport=transport, address=address, subject=subject, **more)


def stream_closed(
    *, transport: str, address: str, subject: str | None, seconds: float, reason: str, **more: Any
) -> None:
    """Write the closing line. `seconds` is how long it was open, `reason` a close code or a word."""
    more.update({"stream.reason": reason, "duration_ms": round(seconds * 1000, 3)})
    _stream("close", transport=transport, address=address, subject=subject, **more)


def _stream(phase: str, **fields: Any) -> None:
    structlog.get_logger(_LOGGER).info("stream", phase=phase, **fields)
