"""Who may come in: one table, endpoint -> what it takes. A route that is not in it does not exist for anybody."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from flask import Flask, abort, g, request

from app.access import Access, Action, Tickets, any_token, bearer_token, holds
from app.access import install as install_jwt
from app.blueprints.spring_paths import wanted
from app.errors import Forbidden, Unauthenticated
from app.model import Principal, View, checked_envs, checked_service


class Need(Enum):
    """What a route takes."""

    NOTHING = "public"
    SIGNATURE = "a signed body, which the view checks"
    TOKEN = "a good token; the view asks for grants per topic"  # noqa: S105 - words, not a password
    TARGET = "a token that may see the service and envs in the path"
    SPRING = "the same of every service and env; in more headers than others, as Spring's clients send it"
    WRITE = "config:write for everything"
    ENCRYPT = "config:encrypt"
    DECRYPT = "config:decrypt"
    PLAN = "config:view or config:write for something; of the rest the view shows nothing"
    CHANGE = "config:write for something; the view asks for each file"
    AUDIT = "config:audit"
    METRICS = "config:view for everything; nothing where METRICS says public or names a port"


#: Every endpoint of the application. A test walks the URL map against this table.
ROUTES: Mapping[str, Need] = {
    "health.live": Need.NOTHING,
    "health.ready": Need.NOTHING,
    "health.report": Need.NOTHING,
    "health.metrics": Need.METRICS,
    "docs.openapi": Need.NOTHING,
    "docs.page": Need.NOTHING,
    "docs.asset": Need.NOTHING,
    "hooks.git": Need.SIGNATURE,
    "config.read": Need.TARGET,
    "config.file": Need.TARGET,
    "history.revisions": Need.TARGET,
    "history.diff": Need.TARGET,
    "stream.websocket": Need.TOKEN,
    "stream.events": Need.TOKEN,
    "tickets.issue": Need.TOKEN,
    "tickets.acknowledge": Need.TOKEN,
    "overview.status": Need.TOKEN,
    "overview.problems": Need.TOKEN,
    "overview.instances": Need.TOKEN,
    "admin.refresh": Need.WRITE,
    "admin.revoke": Need.WRITE,
    "audit.records": Need.AUDIT,
    "encryption.encrypt": Need.ENCRYPT,
    "encryption.decrypt": Need.DECRYPT,
    "hold.begin": Need.WRITE,
    "hold.release": Need.WRITE,
    "changes.plan": Need.PLAN,
    "changes.change": Need.CHANGE,
    "changes.rollback": Need.CHANGE,
    "changes.promote": Need.CHANGE,
    "spring.environment": Need.SPRING,
    "spring.labelled": Need.SPRING,
    "spring.flat": Need.SPRING,
    "spring.file": Need.SPRING,
    "spring.monitor": Need.SIGNATURE,
    "spring.encrypt": Need.ENCRYPT,
    "spring.decrypt": Need.DECRYPT,
    "spring.encrypt_status": Need.TOKEN,
    "spring.key": Need.TOKEN,
    "spring.encrypt_for": Need.ENCRYPT,
    "spring.decrypt_for": Need.DECRYPT,
    "spring.key_for": Need.TOKEN,
}


@dataclass(frozen=True, slots=True)
class MetricsAt:
    """Where /metrics is: on the server's address, with or without a token, or on a `port` of its own without one."""

    public: bool = False
    port: str | None = None


def metrics_at(setting: str) -> MetricsAt:
    """The setting METRICS: `public`, `view`, or the number of a port."""
    return MetricsAt(port=setting) if setting.isdigit() else MetricsAt(public=setting == "public")


@dataclass(frozen=True, slots=True)
class Guard:
    """Runs before every view; leaves `g.principal`, and for a target `g.view`, `g.service`, `g.envs`."""

    access: Access
    tickets: Tickets
    metrics: MetricsAt
    token_headers: Sequence[str]

    def check(self) -> None:
        """Raises Unauthenticated, Forbidden, BadInput; 404 and 405 for what is no route."""
        if request.routing_exception is not None:
            raise request.routing_exception
        need = ROUTES.get(request.endpoint or "")
        at_metrics_port = self.metrics.port is not None and request.environ.get("SERVER_PORT") == self.metrics.port
        if need is None or (at_metrics_port and request.blueprint != "health"):
            abort(404)
        if need is Need.METRICS and self.metrics.port is not None and not at_metrics_port:
            abort(404)
        if need in _OPEN or at_metrics_port or (need is Need.METRICS and self.metrics.public):
            return
        ticket = _ticket() if request.endpoint in _TAKE_TICKETS else None
        g.principal = self._redeemed(ticket) if ticket is not None else self._authenticated()
        _CHECKS[need](self, g.principal)

    def _authenticated(self) -> Principal:
        header = request.headers.get("Authorization")
        g.has_token = header is not None
        if request.blueprint == "spring":
            others = [request.headers.get(name) for name in self.token_headers]
            g.has_token = g.has_token or any(others)
            return self.access.verifier.verify(any_token(header, others, basic=request.method in {"GET", "HEAD"}))
        return self.access.verifier.verify(bearer_token(header))

    def _redeemed(self, ticket: str) -> Principal:
        g.has_token = True
        principal = self.tickets.redeem(ticket, request.headers.get("Origin"))
        if self.access.is_revoked(principal):
            raise Unauthenticated("the token behind the ticket has been revoked")
        return principal

    def _target(self, principal: Principal) -> None:
        arguments = request.view_args or {}
        g.service, g.envs = checked_service(arguments["service"]), checked_envs(arguments["env"])
        g.view = self.access.view(principal, g.service, g.envs)
        if g.view is None:
            raise Forbidden("no grant of this token covers this configuration")

    def _spring(self, principal: Principal) -> None:
        g.wanted = asked = wanted(request.view_args or {}, default_label="useDefaultLabel" in request.args)
        services, envs = asked.services, asked.envs
        g.topic = f"{','.join(services)}/{','.join(envs)}"
        views = {self.access.view(principal, service, envs) for service in services}
        if None in views:
            raise Forbidden("no grant of this token covers this configuration")
        g.view = View.MASKED if View.MASKED in views else View.RESOLVED

    def _write(self, principal: Principal) -> None:
        if not holds(principal, Action.WRITE):
            raise Forbidden("this takes config:write")

    def _encrypt(self, principal: Principal) -> None:
        if not holds(principal, Action.ENCRYPT):
            raise Forbidden("this takes config:encrypt")

    def _decrypt(self, principal: Principal) -> None:
        if not holds(principal, Action.DECRYPT):
            raise Forbidden("this takes config:decrypt")

    def _plan(self, principal: Principal) -> None:
        if not any(grant.action in (Action.VIEW, Action.WRITE) for grant in principal.grants):
            raise Forbidden("this takes config:view or config:write")

    def _change(self, principal: Principal) -> None:
        if not any(grant.action == Action.WRITE for grant in principal.grants):
            raise Forbidden("this takes config:write")

    def _audit(self, principal: Principal) -> None:
        if not holds(principal, Action.AUDIT):
            raise Forbidden("this takes config:audit")

    def _metrics(self, principal: Principal) -> None:
        if not holds(principal, Action.VIEW):
            raise Forbidden("this takes config:view")

    def _token(self, principal: Principal) -> None:
        """Nothing more: each topic is looked at when it is subscribed to, and at each delivery."""


def _ticket() -> str | None:
    """A browser's ticket: a second subprotocol of WebSocket; for SSE the scheme Ticket, or the query."""
    if request.endpoint == "stream.websocket":
        offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
        return next((name.strip()[7:] for name in offered if name.strip().startswith("ticket.")), None)
    given = request.headers.get("Authorization")
    if given is None:
        return request.args.get("ticket")  # a native EventSource can set no header
    scheme, _, value = given.partition(" ")
    return value.strip() if scheme.lower() == "ticket" else None


_TAKE_TICKETS = frozenset({"stream.websocket", "stream.events"})
_OPEN = frozenset({Need.NOTHING, Need.SIGNATURE})
_CHECKS: Mapping[Need, Callable[[Guard, Principal], None]] = {
    Need.TOKEN: Guard._token,
    Need.TARGET: Guard._target,
    Need.SPRING: Guard._spring,
    Need.WRITE: Guard._write,
    Need.ENCRYPT: Guard._encrypt,
    Need.DECRYPT: Guard._decrypt,
    Need.PLAN: Guard._plan,
    Need.CHANGE: Guard._change,
    Need.AUDIT: Guard._audit,
    Need.METRICS: Guard._metrics,
}


def install(app: Flask, access: Access, tickets: Tickets, metrics: MetricsAt, token_headers: Sequence[str]) -> None:
    """Put the guard before every view of `app`, and let its JWTManager do the decoding."""
    install_jwt(app, access.verifier)
    app.before_request(Guard(access, tickets, metrics, token_headers).check)
