"""POST /hooks/git: a signed word that something was pushed. A hint to fetch; nothing in it is trusted."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from app.errors import NotFound, Unauthenticated

MAX_BODY = 1 << 20
#: Headers that carry an HMAC-SHA256 of the raw body in hex, with or without "sha256=" (GitHub, Bitbucket, Gitea, Gogs).
_SIGNATURES = ("X-Hub-Signature-256", "X-Hub-Signature", "X-Gitea-Signature", "X-Gogs-Signature")
#: Headers that carry the secret itself (GitLab, Gitee).
_TOKENS = ("X-Gitlab-Token", "X-Gitee-Token")


def blueprint(secret: bytes | None, hint: Callable[[], object]) -> Blueprint:
    routes = Blueprint("hooks", __name__, url_prefix="/hooks")

    def git() -> ResponseReturnValue:
        if secret is None:
            raise NotFound("webhooks are not set up")
        request.max_content_length = MAX_BODY  # beyond it reading the body is a 413
        if not is_signed(secret, request.get_data(cache=False)):
            raise Unauthenticated("the webhook's signature does not verify")
        hint()
        return {"status": "accepted"}, 202

    routes.post("/git")(git)
    return routes


def is_signed(secret: bytes, body: bytes) -> bool:
    """Whether a header of the request proves knowledge of the secret. Compared in constant time, as bytes."""
    expected = hmac.digest(secret, body, hashlib.sha256).hex().encode()
    for name in _SIGNATURES:
        given = _header(name).removeprefix(b"sha256=")
        if given and hmac.compare_digest(given, expected):
            return True
    return any(hmac.compare_digest(_header(name), secret) for name in _TOKENS if _header(name))


def _header(name: str) -> bytes:
    return request.headers.get(name, "").encode("utf-8", "surrogateescape")
