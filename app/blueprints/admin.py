"""/v1/admin: what an operator asks of a running server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

from flask import Blueprint, g, request
from flask.typing import ResponseReturnValue

from app.access import Issuers
from app.audit import AuditEvent, Outcome
from app.blueprints.schemas import RevocationBody, load_body
from app.engine import ConfigEngine
from app.errors import RepositoryUnavailable
from app.model import StaleReason
from app.notify import HeadsFile, HostState

#: How often heads.json is looked at while a refresh waits, in seconds.
_LOOK = 0.02


def blueprint(
    engine: ConfigEngine,
    hint: Callable[[], int],
    new_heads: Callable[[], HeadsFile],
    record: Callable[[AuditEvent], None],
    refuse: Callable[[str, str, str], None],
    issuers: Issuers,
    *,
    further: Collection[str],
    patience: float,
) -> Blueprint:
    """`refuse` is given kind, issuer and value; `further` are the names of the further repositories.

    `patience` is how long a refresh waits for the fetch, in seconds; then it answers 202 and the fetch goes on.
    """
    routes = Blueprint("admin", __name__, url_prefix="/v1/admin")

    def refresh() -> ResponseReturnValue:
        record(_event("config.refresh"))
        number = hint()
        state = _answered(engine, new_heads(), lambda state: is_answered(state, number), patience)
        if state is not None and state.git_failing_since:
            raise RepositoryUnavailable("Git does not answer; the last commit goes on being served")
        world = engine.world
        head = world.heads.get(world.default_label)
        body = {
            "rev": str(world.rev),
            "label": world.default_label,
            "version": head.commit if head else "",
            "fetched": state is not None,
            "stale": [each.as_json() for each in world.stale],
        }
        return body, 202 if state is None else 200

    def is_answered(state: HostState, number: int) -> bool:
        """Whether every fetch that began after hint `number` has ended. Who fails already is not waited for."""
        theirs = [state.further.get(name) for name in further]
        others = all(each is not None and (each.failing_since or each.hint >= number) for each in theirs)
        return state.hint >= number and others

    def revoke() -> ResponseReturnValue:
        body = load_body(RevocationBody(), request)
        issuer = issuers.named(body.get("issuer")).issuer
        record(_event("access.revoke", f"{body['kind']} {body['value']} of {issuer}"))
        refuse(body["kind"], issuer, body["value"])
        return "", 204

    routes.post("/refresh")(refresh)
    routes.post("/revocations")(revoke)
    return routes


def _answered(
    engine: ConfigEngine, heads: HeadsFile, is_answered: Callable[[HostState], bool], patience: float
) -> HostState | None:
    """What the pullers say once `is_answered` holds of it and it is installed here; or None."""
    deadline = time.monotonic() + patience
    pause = threading.Event()  # never set: a wait that lets other requests in
    while time.monotonic() < deadline:
        state = heads.read()
        if state is not None and is_answered(state) and engine.ready and _has(engine, state):
            return state
        pause.wait(_LOOK)
    return None


def _has(engine: ConfigEngine, state: HostState) -> bool:
    """Whether it serves what the puller has found, and no longer tells of an outage that is over."""
    outage = any(each.reason is StaleReason.GIT for each in engine.world.stale)
    return engine.has(state.cursor.rev) and (state.git_failing_since is not None or not outage)


def _event(action: str, detail: str | None = None) -> AuditEvent:
    return AuditEvent(
        action,
        Outcome.ALLOWED,
        request_id=g.request_id,
        subject=g.principal.subject,
        issuer=g.principal.issuer,
        address=request.remote_addr,
        detail=detail,
    )
