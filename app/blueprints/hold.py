"""/v1/admin/hold: serve a branch at a former commit for a while, and let go of it."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, g, request
from flask.typing import ResponseReturnValue

from app.blueprints.change_schemas import HoldBody, ReleaseBody
from app.blueprints.schemas import load_body
from app.changes import Holds, Who
from app.model import checked_label


def blueprint(holds: Holds) -> Blueprint:
    routes = Blueprint("hold", __name__, url_prefix="/v1/admin/hold")

    def begin() -> ResponseReturnValue:
        body = load_body(HoldBody(), request)
        commit = checked_label(body["commit"])
        hold, rev = holds.hold(_who(), _label(body), commit, seconds=body["seconds"], reason=body["reason"])
        until = datetime.fromtimestamp(hold.until, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"commit": hold.commit, "until": until, "rev": str(rev) if rev else None}, 200 if rev else 202

    def release() -> ResponseReturnValue:
        rev = holds.release(_who(), _label(load_body(ReleaseBody(), request)))
        return {"rev": str(rev) if rev else None}, 200 if rev else 202

    routes.post("")(begin)
    routes.post("/release")(release)
    return routes


def _label(body: dict[str, str]) -> str | None:
    return checked_label(body["label"]) if "label" in body else None


def _who() -> Who:
    return Who(g.principal, g.request_id, request.remote_addr)
