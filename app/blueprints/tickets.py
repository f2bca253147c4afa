"""POST /v1/tickets: a browser trades its token for a ticket. POST /v1/acks: what an SSE client did with a change."""

from __future__ import annotations

from flask import Blueprint, g, request
from flask.typing import ResponseReturnValue

from app.access import Tickets
from app.access.tickets import TICKET_SECONDS
from app.blueprints.schemas import AckBody, load_body
from app.errors import NotFound
from app.notify import Presence
from app.notify.wire import Ack


def blueprint(tickets: Tickets, presence: Presence) -> Blueprint:
    routes = Blueprint("tickets", __name__, url_prefix="/v1")

    def issue() -> ResponseReturnValue:
        ticket = tickets.issue(g.principal, request.headers.get("Origin"))
        return {"ticket": ticket, "expires_in": TICKET_SECONDS}, 201

    def acknowledge() -> ResponseReturnValue:
        body = load_body(AckBody(), request)
        ack = Ack(body["rev"], body["topic"], body["etag"], body["status"], body.get("reason"))
        if not presence.acknowledge_for(body["conn"], g.principal.subject, ack, issuer=g.principal.issuer):
            raise NotFound("no stream of yours has this id and topic")
        return "", 204

    routes.post("/tickets")(issue)
    routes.post("/acks")(acknowledge)
    return routes
