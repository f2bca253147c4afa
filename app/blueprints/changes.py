"""/v1/admin/plan, changes, rollback, promote: what a change would do, and doing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, g, request
from flask.typing import ResponseReturnValue

from app.blueprints.change_schemas import ChangeBody, PlanBody, PromoteBody, RollbackBody
from app.blueprints.schemas import load_body
from app.changes import Changes, Done, FileEdit, Order, Plan, Scope
from app.effective import KeyEdits, parse_key
from app.effective.limits import MAX_DEPTH
from app.errors import BadInput
from app.model import KeyPath, checked_label, checked_service

MAX_BODY = 8 << 20


def blueprint(changes: Changes) -> Blueprint:
    routes = Blueprint("changes", __name__, url_prefix="/v1/admin")

    def plan() -> ResponseReturnValue:
        body = _body(PlanBody())
        if ("edits" in body) == ("commit" in body):
            raise BadInput("edits", "give either edits or a commit")
        label = _label(body)
        if "commit" in body:
            made = changes.plan_commit(label, checked_label(body["commit"]))
        else:
            made = changes.plan_edits(g.principal, label, _edits(body))
        return changes.seen_by(g.principal, made)

    def change() -> ResponseReturnValue:
        body = _body(ChangeBody())
        return _answered(changes, changes.change(_order(body), body["base"], _edits(body)))

    def rollback() -> ResponseReturnValue:
        body = _body(RollbackBody())
        if sum((bool(body.get("service")), bool(body.get("files")), body["all"])) != 1:
            raise BadInput("service", "give one of service, files, all=true")
        service = checked_service(body["service"]) if body.get("service") else None
        scope = Scope(service, tuple(body.get("files", ())))
        what = service or ", ".join(scope.files)[:200] or "everything"
        order = _order(body, f"Roll back {what} to {body['to'][:12]}")
        return _answered(changes, changes.rollback(order, checked_label(body["to"]), scope, body.get("confirm")))

    def promote() -> ResponseReturnValue:
        body = _body(PromoteBody())
        service, envs = checked_service(body["service"]), (body["source"], body["target"])
        if envs[0] == envs[1]:
            raise BadInput("to", "is the env to promote from")
        order = _order(body, f"Promote {service} from {envs[0]} to {envs[1]}")
        return _answered(changes, changes.promote(order, service, envs, body.get("confirm")))

    routes.post("/plan")(plan)
    routes.post("/changes")(change)
    routes.post("/rollback")(rollback)
    routes.post("/promote")(promote)
    return routes


def _body(schema: Any) -> dict[str, Any]:
    request.max_content_length = MAX_BODY
    try:
        return load_body(schema, request)
    except RecursionError:
        raise BadInput("body", "is nested too deeply") from None


def _label(body: Mapping[str, Any]) -> str | None:
    return checked_label(body["label"]) if "label" in body else None


def _order(body: Mapping[str, Any], message: str = "") -> Order:
    return Order(
        g.principal,
        _label(body),
        body.get("message", message).strip(),
        override=body.get("override"),
        request_id=g.request_id,
        address=request.remote_addr,
    )


def _answered(changes: Changes, outcome: Done | Plan) -> ResponseReturnValue:
    if isinstance(outcome, Plan):
        return {"dry_run": True, "plan": changes.seen_by(g.principal, outcome)}
    body = {
        "commit": outcome.commit,
        "label": outcome.label,
        "rev": str(outcome.rev) if outcome.rev else None,
        "plan": changes.seen_by(g.principal, outcome.plan),
    }
    return body, 200 if outcome.rev else 202


def _edits(body: Mapping[str, Any]) -> list[FileEdit]:
    return [_edit(each) for each in body["edits"]]


def _edit(given: Mapping[str, Any]) -> FileEdit:
    by_key = "set" in given or "unset" in given
    if sum((by_key, "text" in given, given.get("delete", False))) != 1:
        raise BadInput("edits", "each has one of: set and unset, text, delete=true")
    if not by_key:
        return FileEdit(given["file"], text=given.get("text"))
    values = given.get("set", {})
    if any(_is_deep(value) for value in values.values()):
        raise BadInput("edits", f"a value is nested deeper than {MAX_DEPTH}")
    keys = {_key(name): value for name, value in values.items()}
    if len(keys) < len(values):
        raise BadInput("edits", "one key is set twice, in two spellings")
    unset = tuple(_key(name) for name in given.get("unset", ()))
    return FileEdit(given["file"], keys=KeyEdits(keys, unset, given.get("document")))


def _key(text: str) -> KeyPath:
    try:
        path = parse_key(text)
    except ValueError:
        raise BadInput("edits", "a key is not a key path such as db.pool") from None
    if isinstance(path[0], int) or len(path) > MAX_DEPTH:
        raise BadInput("edits", "a key path begins with a name, and is not deeper than a document may be")
    return path


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for each in level for child in _children(each)]
        if not level:
            return False
    return True


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
