"""POST /hooks/git: a signed word that something was pushed, answered before anything is fetched."""

from __future__ import annotations

import time

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from app.errors import NotFound, Unauthenticated
from app.hooks import Arrivals, is_push, is_signed, word
from app.notices.signing import key_of

MAX_BODY = 1 << 20


def blueprint(secret: bytes | None, arrivals: Arrivals) -> Blueprint:
    """`secret` None: webhooks are not accepted. Raises ValueError for a secret that is none."""
    routes = Blueprint("hooks", __name__, url_prefix="/hooks")
    key = key_of(secret) if secret is not None else b""

    def git() -> ResponseReturnValue:
        if secret is None:
            raise NotFound("webhooks are not set up")
        request.max_content_length = MAX_BODY  # beyond it reading the body is a 413
        body = request.get_data(cache=False)
        headers = {name.lower(): value for name, value in request.headers.items()}
        if not is_signed(secret, key, headers, body, now=time.time()):
            raise Unauthenticated("the webhook's signature does not verify")
        if not is_push(headers):
            return {"status": "ignored"}, 202
        is_new = arrivals.heard(body, word(request.content_type or "", body))
        return {"status": "accepted" if is_new else "repeated"}, 202

    routes.post("/git")(git)
    return routes
