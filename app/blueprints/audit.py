"""GET /v1/admin/audit: the trail read back, newest first, page by page or whole as JSON lines."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from app.audit import AuditView, Filter
from app.blueprints.audit_schemas import AuditQuery
from app.blueprints.schemas import load_query
from app.errors import BadInput, NotOffered

JSON_LINES = "application/jsonl"
_QUERY = AuditQuery()
_LIMIT = 100


def blueprint(view: AuditView) -> Blueprint:
    routes = Blueprint("audit", __name__, url_prefix="/v1/admin")

    def records() -> ResponseReturnValue:
        query = load_query(_QUERY, request.args)
        cluster = query.get("scope", "cluster" if view.has_cluster else "host") == "cluster"
        if cluster and not view.has_cluster:
            raise NotOffered("without Redis there is no trail but this host's")
        wanted = _filter(query)
        if query.get("format") == "jsonl" or request.accept_mimetypes.best == JSON_LINES:
            return _exported(view, wanted, query, cluster=cluster)
        cursor, limit = query.get("cursor"), query.get("limit", _LIMIT)
        found, further = view.page(wanted, cluster=cluster, cursor=cursor, limit=limit)
        return {"scope": "cluster" if cluster else "host", "records": found, "next": further}

    routes.get("/audit")(records)
    return routes


def _exported(view: AuditView, wanted: Filter, query: Mapping[str, Any], *, cluster: bool) -> Response:
    for name in ("cursor", "limit"):
        if name in query:
            raise BadInput(name, "is for pages; JSON lines come whole")
    records = view.all(wanted, cluster=cluster)
    first = list(itertools.islice(records, 1))  # what fails at once is answered as a problem, not cut off

    def lines() -> Iterator[str]:
        for record in itertools.chain(first, records):
            yield json.dumps(record, separators=(",", ":")) + "\n"

    return Response(lines(), content_type=JSON_LINES)


def _filter(query: Mapping[str, Any]) -> Filter:
    names = ("subject", "action", "target", "outcome", "version", "request_id")
    given = {name: query[name] for name in names if name in query}
    return Filter(**given, since=_text(query.get("since")), until=_text(query.get("until")))


def _text(moment: datetime | None) -> str | None:
    """As records write it, so that texts compare as times do."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
