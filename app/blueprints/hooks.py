"""POST /hooks/git: a signed word that something was pushed, answered before anything is fetched."""

from __future__ import annotations

import time
from collections.abc import Mapping

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from app.errors import NotFound, Unauthenticated
from app.hooks import Arrivals, is_push, is_signed, word
from app.notices.signing import key_of

MAX_BODY = 1 << 20


def blueprint(secret: bytes | None, arrivals: Arrivals) -> Blueprint:
    """`secret` None: webhooks are not accepted. Raises ValueError for a secret that is none."""
    routes = Blueprint("hooks", __name__, url_prefix="/hooks")
    key_of(secret or b"")

    def git() -> ResponseReturnValue:
        body = checked_body(secret)
        if not is_push(_headers()):
            return {"status": "ignored"}, 202
        return {"status": "accepted" if heard(arrivals, body) else "repeated"}, 202

    routes.post("/git")(git)
    return routes


def checked_body(secret: bytes | None) -> bytes:
    """The body of the request, if a header of it proves knowledge of the secret. Raises NotFound, Unauthenticated."""
    if secret is None:
        raise NotFound("webhooks are not set up")
    request.max_content_length = MAX_BODY  # beyond it reading the body is a 413
    body = request.get_data()
    if not is_signed(secret, key_of(secret), _headers(), body, now=time.time()):
        raise Unauthenticated("the webhook's signature does not verify")
    return body


def heard(arrivals: Arrivals, body: bytes) -> bool:
    """Have it fetched. False for a word that was heard just now."""
    return arrivals.heard(body, word(request.content_type or "", body))


def _headers() -> Mapping[str, str]:
    """By their names in lower case."""
    return {name.lower(): value for name, value in request.headers.items()}
