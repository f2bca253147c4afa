"""Owns the OpenAPI document: made from the URL map, the guard's table, the schemas and the error tree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema
from werkzeug.routing import Map, Rule

from app import errors
from app.blueprints.guard import ROUTES, Need
from app.blueprints.operation import Answer, Operation, Part
from app.blueprints.operations import OPERATIONS
from app.blueprints.problems import STATUS, TITLES
from app.blueprints.schemas import ProblemSchema
from app.blueprints.spring_operations import EncryptionStatusSchema, SpringErrorSchema
from app.errors import ConfigServerError
from app.model import LABEL, NAME

API_VERSION = "1"
PROBLEM_TYPE = "urn:config-server:"
REV_PATTERN = r"^[^.]+\.[0-9]{1,18}$"

_INFO = (
    "Configuration for services: versioned in Git, secrets from Vault, pushed on change.\n\n"
    "Every error is a problem of RFC 9457 with a stable `type`. Every answer has an `X-Request-ID`, which the log "
    "has too. `HEAD` goes wherever `GET` goes. Answers may gain members: ignore those that you do not know."
)
_COMMIT: Part = {"type": "string", "pattern": "^[0-9a-f]{40}(,[0-9a-f]{40})*$"}
_REV: Part = {"type": "string", "pattern": REV_PATTERN, "examples": ["1-333234e7.2"]}

HEADERS: dict[str, Part] = {
    "ETag": {"description": "For If-None-Match.", "schema": {"type": "string"}},
    "X-Config-Version": {
        "description": "The commit that the content comes from; of several repositories each one's.",
        "schema": _COMMIT,
    },
    "X-Config-Rev": {"description": "The revision that is installed, `epoch.seq`.", "schema": _REV},
    "X-Config-Stale": {
        "description": "Present while the answer may be older than the label's head: a list (RFC 9651) of reasons, "
        "each with `since` and perhaps the `commit` that is held back.",
        "schema": {"type": "string", "examples": ['git;since="2026-11-23T09:37:36.889Z"']},
    },
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}},
    "WWW-Authenticate": {"description": "RFC 6750.", "schema": {"type": "string"}},
    "X-Request-ID": {"description": "The request's own, if it is legal, else a new one.", "schema": {"type": "string"}},
    "Sec-WebSocket-Protocol": {"description": "The protocol that was chosen.", "schema": {"type": "string"}},
}

PARAMETERS: dict[str, Part] = {
    "service": {
        "in": "path",
        "required": True,
        "description": "The service's name.",
        "schema": {"type": "string", "pattern": f"^{NAME.pattern}$"},
    },
    "env": {
        "in": "path",
        "required": True,
        "description": "An env, or up to 16 separated by commas; the last one ranks highest.",
        "schema": {"type": "string", "pattern": f"^{NAME.pattern}(,{NAME.pattern}){{0,15}}$"},
    },
    "path": {
        "in": "path",
        "required": True,
        "description": "The file's path in a search location; it may hold slashes.",
        "schema": {"type": "string"},
    },
    "If-None-Match": {
        "in": "header",
        "description": "Entity tags that the caller holds: 304 if one of them is still right.",
        "schema": {"type": "string"},
    },
    "X-Config-Rev": {
        "in": "header",
        "description": "The highest revision that the caller has seen: an older answer is not given, 503 instead.",
        "schema": _REV,
    },
    "X-Request-ID": {
        "in": "header",
        "description": "An id to find this request in the logs by.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:/+=-]{1,128}$"},
    },
}

#: Headers by which a webhook proves itself; any one of them will do.
SIGNATURES = (
    "X-Hub-Signature-256",
    "X-Hub-Signature",
    "X-Gitea-Signature",
    "X-Gogs-Signature",
    "webhook-signature",
    "X-Gitlab-Token",
    "X-Gitee-Token",
)
#: What the queries' schemas leave to app.model, so that one place decides.
_QUERY_PATTERNS = {"label": f"^{LABEL.pattern}$"}

_Requirements: TypeAlias = list[dict[str, list[str]]]
_BEARER: _Requirements = [{"bearer": []}]
_SECURITY: dict[Need, _Requirements] = {
    Need.NOTHING: [],
    Need.SIGNATURE: [{name: []} for name in SIGNATURES],
    Need.TOKEN: _BEARER,
    Need.TARGET: _BEARER,
    Need.SPRING: [*_BEARER, {"basic": []}, {"X-Config-Token": []}],
    Need.ENCRYPT: _BEARER,
    Need.DECRYPT: _BEARER,
    Need.WRITE: _BEARER,
    Need.PLAN: _BEARER,
    Need.CHANGE: _BEARER,
    Need.AUDIT: _BEARER,
    Need.METRICS: [*_BEARER, {}],
}
#: A stream may be opened with a ticket instead of a token.
_TICKET: dict[str, _Requirements] = {
    "stream.events": [{"ticket": []}, {"ticketInQuery": []}],
    "stream.websocket": [{"ticketAsSubprotocol": []}],
}
_SCHEMES: dict[str, Part] = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "basic": {"type": "http", "scheme": "basic", "description": "The password is the token; the user is ignored."},
    "X-Config-Token": {"type": "apiKey", "in": "header", "name": "X-Config-Token"},
    "ticket": {"type": "http", "scheme": "ticket", "description": "Of `POST /v1/tickets`."},
    "ticketInQuery": {"type": "apiKey", "in": "query", "name": "ticket", "description": "For a native `EventSource`."},
    "ticketAsSubprotocol": {
        "type": "apiKey",
        "in": "header",
        "name": "Sec-WebSocket-Protocol",
        "description": "`cfg.v1, ticket.<value>`: a second subprotocol, which is not answered.",
    },
}
_DENIALS: dict[Need, tuple[type[ConfigServerError], ...]] = {
    Need.TOKEN: (errors.Unauthenticated,),
    Need.TARGET: (errors.Unauthenticated, errors.Forbidden),
    Need.SPRING: (errors.Unauthenticated, errors.Forbidden),
    Need.ENCRYPT: (errors.Unauthenticated, errors.Forbidden),
    Need.DECRYPT: (errors.Unauthenticated, errors.Forbidden),
    Need.WRITE: (errors.Unauthenticated, errors.Forbidden),
    Need.PLAN: (errors.Unauthenticated, errors.Forbidden),
    Need.CHANGE: (errors.Unauthenticated, errors.Forbidden),
    Need.AUDIT: (errors.Unauthenticated, errors.Forbidden),
    Need.METRICS: (errors.Unauthenticated, errors.Forbidden),
}


def document(routes: Map) -> dict[str, Any]:
    """The OpenAPI 3.1 document of an application with these routes. Raises KeyError for a route nobody described."""
    builder = _Builder()
    for rule in routes.iter_rules():
        builder.add(rule)
    return builder.finished()


def path_of(rule: Rule) -> str:
    """`/v1/config/<service>/<path:path>` as OpenAPI writes it."""
    return re.sub(r"<(?:[^<>:]+:)?([^<>]+)>", r"{\1}", rule.rule)


class _Builder:
    """One document in the making."""

    def __init__(self) -> None:
        self._plugin = MarshmallowPlugin()
        self._spec = APISpec(
            "Config Server",
            API_VERSION,
            "3.1.0",
            plugins=[self._plugin],
            info={"description": _INFO, "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"}},
            tags=[{"name": tag} for tag in dict.fromkeys(operation.tag for operation in OPERATIONS.values())],
        )
        components = self._spec.components
        components.schema("Problem", schema=ProblemSchema)
        components.schema("SpringError", schema=SpringErrorSchema)
        for name, header in HEADERS.items():
            components.header(name, header)
        for name, parameter in PARAMETERS.items():
            components.parameter(name, parameter["in"], {"name": name, **parameter})
        for name, scheme in _SCHEMES.items():
            components.security_scheme(name, scheme)
        for name in SIGNATURES:
            components.security_scheme(name, {"type": "apiKey", "in": "header", "name": name})

    def add(self, rule: Rule) -> None:
        endpoint = rule.endpoint
        operation, need = OPERATIONS[endpoint], ROUTES[endpoint]
        described: Part = {
            "operationId": endpoint,
            "tags": [operation.tag],
            "summary": operation.summary,
            "description": operation.description,
            "parameters": [*self._parameters(operation), "X-Request-ID"],
            "security": [*_SECURITY[need], *_TICKET.get(endpoint, [])],
            "responses": {
                **{str(status): _answer(status, answer) for status, answer in operation.answers.items()},
                **_failures(operation, _DENIALS.get(need, ()), spring=endpoint.startswith("spring.")),
            },
        }
        if operation.body is not None:
            described["requestBody"] = operation.body
        methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
        self._spec.path(path_of(rule), operations={method.lower(): described for method in methods})

    def finished(self) -> dict[str, Any]:
        made: dict[str, Any] = self._spec.to_dict()
        for schema in made["components"]["schemas"].values():
            schema.pop("additionalProperties", None)  # marshmallow's strictness about input; answers may grow
        return made

    def _parameters(self, operation: Operation) -> Iterator[str | Part]:
        yield from operation.parameters
        yield from operation.more
        if operation.query is not None:
            yield from map(_with_pattern, self._query(operation.query))

    def _query(self, query: type[Schema]) -> list[Part]:
        converter = self._plugin.converter
        if converter is None:
            raise RuntimeError("the plugin belongs to no document")
        found: list[Part] = converter.schema2parameters(query, location="query")
        return found


def _with_pattern(parameter: Part) -> Part:
    pattern = _QUERY_PATTERNS.get(parameter["name"])
    return {**parameter, "schema": {**parameter["schema"], "pattern": pattern}} if pattern else parameter


def _answer(status: int, answer: Answer) -> Part:
    ours = () if status == 101 else ("X-Request-ID",)  # an upgrade is written by the WebSocket library
    described: Part = {"description": answer.description, "headers": _headers(*answer.headers, *ours)}
    return {**described, "content": dict(answer.content)} if answer.content else described


def _failures(operation: Operation, denials: Iterable[type[ConfigServerError]], *, spring: bool) -> dict[str, Part]:
    """status -> answer, for every error of the operation; each status tells its types and what they mean.

    `spring`: in the shape of Spring's errors, or its own words.
    """
    told: dict[int, dict[str, str]] = {}
    fails = dict.fromkeys((*operation.fails, *denials))
    if errors.Unauthenticated in fails:  # what it becomes when there are too many
        fails[errors.TooManyAttempts] = None
    for error in fails:
        told.setdefault(_status(error), {})[_kind(error)] = _meaning(error)
    for status, kind, meaning in operation.http_fails:
        told.setdefault(status, {})[kind] = meaning
    told.setdefault(500, {})["internal-error"] = "An unforeseen error; the log has it under the request's id."
    return {str(status): _failure(status, told[status], spring=spring) for status in sorted(told)}


def _failure(status: int, kinds: dict[str, str], *, spring: bool) -> Part:
    more = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}.get(status, ())
    prefix = "" if spring else PROBLEM_TYPE
    lines = "\n".join(f"- `{prefix}{kind}`: {meaning}" for kind, meaning in kinds.items())
    content: dict[str, Part] = {"application/problem+json": {"schema": "Problem"}}
    if spring:
        content = {"application/json": {"schema": {"anyOf": ["SpringError", EncryptionStatusSchema]}}}
    return {
        "description": f"{TITLES[status]}.\n\n{lines}",
        "headers": _headers(*more, "X-Request-ID"),
        "content": content,
    }


def _headers(*names: str) -> Part:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _status(error: type[ConfigServerError]) -> int:
    return next(STATUS[kind] for kind in error.__mro__ if kind in STATUS)


def _kind(error: type[ConfigServerError]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", error.__name__).lower()


def _meaning(error: type[ConfigServerError]) -> str:
    """The first paragraph of the error's docstring, on one line."""
    return " ".join((error.__doc__ or "").split("\n\n")[0].split())
