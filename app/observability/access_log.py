"""The one line per request, and the two per stream (opening and closing)."""

from __future__ import annotations

from typing import Any

import structlog

_LOGGER = "access"


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
    request_id: str | None = None,
    **more: Any,
) -> None:
    """Write the line of one finished request.

    `route` is the template (`/v1/config/<service>/<env>`), `seconds` the duration, `address` the peer, `size` the
    body in bytes. `request_id` is needed only outside a thread where `bind_request` was called.
    """
    structlog.get_logger(_LOGGER).info(
        "request",
        method=method,
        route=route,
        status=status,
        duration_ms=round(seconds * 1000, 3),
        address=address,
        subject=subject,
        topic=topic,
        size=size,
        request_id=request_id,
        **more,
    )


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
