"""GET /v1/history and /v1/diff: what changed a configuration, and what differs between two states of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, g, request
from flask.typing import ResponseReturnValue

from app.access import Access
from app.blueprints.schemas import DiffQuery, HistoryQuery, load_query, moment
from app.engine import ConfigEngine, Histories, Resolution, changes, json_patch, shown_label
from app.errors import BadInput, Forbidden
from app.model import checked_envs, checked_label, shown_commit

PATCH_TYPE = "application/json-patch+json"
_HISTORY_QUERY, _DIFF_QUERY = HistoryQuery(), DiffQuery()


def blueprint(engine: ConfigEngine, history: Histories, access: Access) -> Blueprint:
    routes = Blueprint("history", __name__, url_prefix="/v1")

    def revisions(**_coordinates: str) -> ResponseReturnValue:
        query = load_query(_HISTORY_QUERY, request.args)
        world = engine.world
        head, target = engine.target(world, g.service, g.envs, _label(query.get("label")), moment(query.get("at")))
        g.topic = target.topic
        protected = engine.is_protected(world, head)
        page = history.page(head, target, protected=protected, after=query.get("cursor"), limit=query["limit"])
        return {
            "service": target.service,
            "env": target.env,
            "label": shown_label(target),
            "head": shown_commit(head.commit),
            "revisions": [each.as_json() for each in page.revisions],
            "next": page.next,
        }

    def diff(**_coordinates: str) -> ResponseReturnValue:
        query = load_query(_DIFF_QUERY, request.args)
        before, after = (_side(engine, access, query, name) for name in ("from", "to"))
        if query.get("format") == "patch" or request.accept_mimetypes.best == PATCH_TYPE:
            return Response(json.dumps(json_patch(before, after)), content_type=PATCH_TYPE)
        return {
            "service": g.service,
            "from": _named(before),
            "to": _named(after),
            "changes": [each.as_json() for each in changes(before, after)],
        }

    routes.get("/history/<service>/<env>")(revisions)
    routes.get("/diff/<service>/<env>")(diff)
    return routes


def _side(engine: ConfigEngine, access: Access, query: Mapping[str, Any], name: str) -> Resolution:
    """One side of a diff: a label, commit or time of the label, in the path's envs or others that may be seen."""
    given, env = query.get("from_" if name == "from" else name), query.get(f"{name}_env")
    envs = checked_envs(env) if env is not None else g.envs
    if env is not None and access.view(g.principal, g.service, envs) is None:
        raise Forbidden("no grant of this token covers this configuration")
    if given is None and name == "from" and "from_env" not in query and "to_env" not in query:
        raise BadInput("from", "is missing: a label, a commit or a time")
    at = _time(given)
    label = _label(query.get("label") if given is None or at is not None else given)
    world = engine.world
    head, target = engine.target(world, g.service, envs, label, at)
    if name == "to":
        g.topic = target.topic
    return engine.current(world, target, head).resolution


def _time(given: str | None) -> int | None:
    """RFC 3339; no branch or tag has a colon in its name."""
    if given is None or ":" not in given:
        return None
    try:
        return moment(datetime.fromisoformat(given))
    except ValueError:
        raise BadInput("from", "a time is written as in RFC 3339, 2026-01-31T12:00:00Z") from None


def _label(text: str | None) -> str | None:
    return checked_label(text) if text is not None else None


def _named(resolution: Resolution) -> dict[str, Any]:
    target = resolution.target
    named: dict[str, Any] = {"env": target.env, "label": shown_label(target), "version": resolution.version}
    stale = [each.as_json() for each in resolution.stale]
    return {**named, "stale": stale} if stale else named
