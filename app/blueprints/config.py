"""GET /v1/config: a target's configuration, and the plain files beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, g, request

from app.blueprints import handover, hot
from app.blueprints.http import instance_header, stale_header
from app.blueprints.schemas import FileQuery, ReadQuery, load_query, moment
from app.engine import FORMAT_NAMES, Answer, ConfigEngine, FileAnswer, ReadRequest
from app.errors import BadInput
from app.model import checked_label
from app.notify import Rev
from app.observability.flask_metrics import leave_untimed

#: Media types that also mean one of our formats.
_ALIASES: Mapping[str, str] = {"application/x-yaml": "yaml", "text/yaml": "yaml", "text/x-yaml": "yaml"}
_BY_MEDIA_TYPE: Mapping[str, str] = {**{media: name for name, media in FORMAT_NAMES.items()}, **_ALIASES}


def blueprint(engine: ConfigEngine) -> Blueprint:
    routes = Blueprint("config", __name__, url_prefix="/v1/config")

    def read(**_coordinates: str) -> Response:
        query = load_query(_READ_QUERY, request.args)
        if query["wait"]:
            leave_untimed()
        asked = read_request(query)
        answer = engine.read(asked)
        g.topic = answer.topic
        hot.note(request, asked, answer)
        response = Response(answer.body, 304 if answer.body is None else 200, mimetype=None)
        if answer.body is not None:
            response.content_type = answer.media_type
        return with_headers(response, answer)

    def file(path: str, **_coordinates: str) -> Response:
        query = load_query(_FILE_QUERY, request.args)
        raw = request.accept_mimetypes.best == "application/octet-stream"
        asked = read_request(query)
        answer = engine.file(asked, path, raw=raw)
        g.topic = answer.topic
        unchanged = answer.etag in asked.etags or "*" in asked.etags
        response = Response(None if unchanged else answer.body, 304 if unchanged else 200)
        response.content_type = answer.media_type
        return with_headers(response, answer)

    routes.get("/<service>/<env>")(read)
    routes.get("/<service>/<env>/<path:path>")(file)
    return routes


_READ_QUERY, _FILE_QUERY = ReadQuery(), FileQuery()


def read_request(query: Mapping[str, Any]) -> ReadRequest:
    """The request as the engine knows it. Raises BadInput."""
    label = query.get("label")
    return ReadRequest(
        principal=g.principal,
        view=g.view,
        service=g.service,
        envs=g.envs,
        label=checked_label(label) if label is not None else None,
        at=moment(query.get("at")),
        format=query.get("format") or _accepted(),
        key=query.get("key"),
        explain=query.get("explain", False),
        flat=query.get("flat", False),
        wait=query.get("wait", 0.0),
        etags=etags(),
        seen=_seen(),
        request_id=g.request_id,
        address=request.remote_addr or "",
        instance=instance_header(),
        gone=handover.departure(request.environ),
    )


def with_headers(response: Response, answer: Answer | FileAnswer) -> Response:
    response.set_etag(answer.etag)
    response.headers["Vary"] = "Authorization, Accept, X-Config-Instance"
    response.headers["X-Config-Version"] = answer.version
    response.headers["X-Config-Rev"] = str(answer.rev)
    if answer.stale:
        response.headers["X-Config-Stale"] = stale_header(answer.stale)
    return response


def _accepted() -> str:
    """The format of the Accept header; JSON for who accepts anything, or nothing that we have."""
    best = request.accept_mimetypes.best_match(["application/json", *_BY_MEDIA_TYPE], "application/json")
    return _BY_MEDIA_TYPE[best]


def etags() -> frozenset[str]:
    """The entity tags of If-None-Match, unquoted."""
    given = request.if_none_match
    return frozenset(("*",)) if given.star_tag else frozenset(given.as_set(include_weak=True))


def _seen() -> Rev | None:
    text = request.headers.get("X-Config-Rev")
    if text is None:
        return None
    rev = Rev.parse(text)
    if rev is None:
        raise BadInput("X-Config-Rev", "is not epoch.seq")
    return rev
