"""Cross-origin reads for the browsers of ALLOWED_ORIGINS (Fetch standard, section 3.2); nobody else gets a header."""

from __future__ import annotations

from flask import Flask, Response, request

#: Headers of ours that a script may read.
EXPOSED = "ETag, X-Config-Version, X-Config-Rev, X-Config-Stale, X-Request-ID, Retry-After"
_ASKABLE = "Authorization, Content-Type, If-None-Match, X-Config-Rev, X-Config-Instance, X-Request-ID, Last-Event-ID"
_PREFLIGHT_SECONDS = "600"


def install(app: Flask, origins: frozenset[str]) -> None:
    """Before the guard: a preflight carries no token."""

    def preflight() -> Response | None:
        asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if not asks or request.headers.get("Origin") not in origins:
            return None
        response = Response(status=204)
        response.headers["Access-Control-Allow-Methods"] = "GET, POST"
        response.headers["Access-Control-Allow-Headers"] = _ASKABLE
        response.headers["Access-Control-Max-Age"] = _PREFLIGHT_SECONDS
        return response

    def allow(response: Response) -> Response:
        origin = request.headers.get("Origin")
        if origin in origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED
            response.headers.add("Vary", "Origin")
        return response

    app.before_request(preflight)
    app.after_request(allow)
