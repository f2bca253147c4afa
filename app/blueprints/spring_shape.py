"""Errors as Spring's clients know them: `{timestamp, status, error, message, path}`, and their own status codes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from http import HTTPStatus

from flask import Flask, Response, abort, g, request

from app import errors
from app.blueprints.problems import Shape
from app.errors import ConfigServerError

#: The first words of the server's other paths: also what is no route there is nothing of Spring's.
OWN_PATHS = frozenset({"v1", "health", "metrics", "hooks", "docs", "openapi.json"})


def install(app: Flask, prefix: str) -> None:
    """For all routes of the blueprint, and for what is no route below its prefix. To be called before the guard."""

    def choose() -> None:
        if not prefix and request.blueprint == "spring" and request.path.split("/")[1] in OWN_PATHS:
            abort(404)
        below = bool(prefix) and request.path.startswith(f"{prefix}/")
        if request.blueprint == "spring" or (request.blueprint is None and below):
            g.shape = Shape(_status, _write)

    app.before_request(choose)


def _status(failure: ConfigServerError) -> int | None:
    """None: as everywhere. What does not parse is an error of the server to Spring's clients, which know no 422."""
    bad = isinstance(failure, errors.Unprocessable) and not isinstance(failure, errors.SecretRefused)
    return 500 if bad else None


def _write(status: int, detail: str) -> Response:
    body = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "status": status,
        "error": HTTPStatus(status).phrase,
        "message": detail,
        "path": request.path,
    }
    return Response(json.dumps(body), status, mimetype="application/json")
