"""Errors as HTTP answers (RFC 9457), once for all routes. The types are stable; the texts are for people."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flask import Flask, Response, g
from werkzeug.exceptions import HTTPException
from wsproto.utilities import RemoteProtocolError

from app import errors
from app.errors import ConfigServerError

log = logging.getLogger(__name__)

#: Error -> status. An error not listed takes the status of its nearest ancestor.
STATUS: Mapping[type[ConfigServerError], int] = {
    errors.BadInput: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Unprocessable: 422,
    errors.Frozen: 423,
    errors.TooManyAttempts: 429,
    errors.TooManyStreams: 429,
    errors.Overloaded: 503,
    errors.NotOffered: 501,
    errors.Unavailable: 503,
    errors.ConfigServerError: 500,
}

TITLES: Mapping[int, str] = {
    400: "Bad request",
    401: "Unauthenticated",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    422: "Cannot be served",
    423: "Frozen",
    429: "Too many requests",
    500: "Internal error",
    501: "Not offered",
    503: "Unavailable",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """Another way to write errors, for the requests that find it in `g.shape`: the status where it is another than
    ours (else None), and the answer for a status and a text."""

    status: Callable[[ConfigServerError], int | None]
    write: Callable[[int, str], Response]


def status_of(failure: ConfigServerError) -> int:
    return next(STATUS[kind] for kind in type(failure).__mro__ if kind in STATUS)


def problem(status: int, kind: str, detail: str, **members: object) -> Response:
    """An answer of type application/problem+json; `kind` becomes the last part of `type`."""
    shape: Shape | None = g.get("shape")
    if shape is not None:
        return shape.write(status, detail)
    body = {
        "type": f"urn:config-server:{kind}",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
    }
    body |= {"request_id": g.get("request_id", ""), **members}
    return Response(json.dumps(body), status, mimetype="application/problem+json")


def install(app: Flask) -> None:
    app.register_error_handler(ConfigServerError, answer_to)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(RemoteProtocolError, _handshake)
    app.register_error_handler(Exception, _unforeseen)


def answer_to(failure: ConfigServerError) -> Response:
    """The answer of every route to one of our errors."""
    status = status_of(failure)
    shape: Shape | None = g.get("shape")
    if shape is not None:
        status = shape.status(failure) or status
    response = problem(status, _kind(failure), str(failure), **_members(failure))
    if isinstance(failure, errors.Unauthenticated):
        response.headers["WWW-Authenticate"] = _challenge()
    if isinstance(failure, errors.Unavailable):
        response.headers["Retry-After"] = str(max(1, math.ceil(failure.retry_after)))
    if status_of(failure) == 500:
        log.error("request.failed", exc_info=failure)
    return response


def _kind(failure: ConfigServerError) -> str:
    return "bad-input" if isinstance(failure, errors.BadInput) else errors.code_of(failure)


def _members(failure: ConfigServerError) -> dict[str, object]:
    """What a program can use: the field at fault, the file and line, the properties."""
    if isinstance(failure, errors.BadInput):
        return {"field": failure.field}
    if isinstance(failure, errors.SchemaViolation):
        return {**_place(failure), "schema": failure.schema, "key": failure.key}
    if isinstance(failure, errors.BadConfiguration):
        return _place(failure)
    if isinstance(failure, errors.SecretRefused):
        return {"keys": list(failure.keys)}
    if isinstance(failure, errors.Conflict | errors.WouldBreak) and failure.plan is not None:
        return {"plan": failure.plan}
    return {}


def _place(failure: errors.BadConfiguration) -> dict[str, object]:
    return {"file": failure.path, "line": failure.line, "reason": failure.reason}


def _challenge() -> str:
    """Who sent nothing is told no error, only what there is to send (RFC 6750, section 3.1)."""
    challenge = 'Bearer realm="config-server"'
    return f'{challenge}, error="invalid_token"' if g.get("has_token") else challenge


def _http(failure: HTTPException) -> Response:
    if failure.code is None or failure.response is not None:  # a redirect of the router
        return Response(failure.get_body(), failure.code or 500, failure.get_headers())
    name = TITLES.get(failure.code, failure.name)
    response = problem(failure.code, name.lower().replace(" ", "-"), name)
    allowed = dict(failure.get_headers()).get("Allow")
    if allowed:
        response.headers["Allow"] = allowed
    return response


def _handshake(_failure: RemoteProtocolError) -> Response:
    response = problem(400, "bad-handshake", "not a WebSocket handshake of version 13")
    response.headers["Sec-WebSocket-Version"] = "13"  # RFC 6455, 4.4
    return response


def _unforeseen(failure: Exception) -> Response:
    log.error("request.failed", exc_info=failure)
    return problem(500, "internal-error", "an unforeseen error; the log has it under this request's id")
