"""The answer to who has failed to show who they are: 401, and 429 from the moment an address has failed too often."""

from __future__ import annotations

from flask import Flask, Response, g, request

from app.access import FailedAttempts
from app.blueprints.guard import ROUTES, Need
from app.blueprints.problems import answer_to
from app.errors import TooManyAttempts, Unauthenticated


def install(app: Flask, attempts: FailedAttempts) -> None:
    """Instead of the plain answer to Unauthenticated. A good token is never here, however often its address failed."""

    def failed(failure: Unauthenticated) -> Response:
        wait = attempts.note(request.remote_addr) if _presented() else None
        if wait is None:
            return answer_to(failure)
        g.too_many_attempts = True
        return answer_to(TooManyAttempts("too many attempts of this address have failed", retry_after=wait))

    app.register_error_handler(Unauthenticated, failed)


def _presented() -> bool:
    """Who shows nothing guesses nothing: they are only asked to log in."""
    return bool(g.get("has_token")) or ROUTES.get(request.endpoint or "") is Need.SIGNATURE
