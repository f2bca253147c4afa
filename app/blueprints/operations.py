"""What each route takes and answers, for /openapi.json: one table, endpoint -> Operation."""

from __future__ import annotations

from collections.abc import Mapping

from marshmallow import Schema, fields

from app import errors
from app.blueprints.audit_schemas import AuditQuery, RecordsSchema
from app.blueprints.change_operations import CHANGE_OPERATIONS
from app.blueprints.operation import Answer, Operation, Part, json_body, json_of
from app.blueprints.schemas import (
    AckBody,
    ConfigSchema,
    DiffQuery,
    DiffSchema,
    FileQuery,
    HistoryQuery,
    HistorySchema,
    InstancesQuery,
    InstancesSchema,
    NoQuery,
    ProblemsQuery,
    ProblemsSchema,
    ReadQuery,
    RefreshSchema,
    RevocationBody,
    ServerStatusSchema,
    TicketSchema,
)
from app.blueprints.spring_operations import SPRING_OPERATIONS
from app.engine import FORMAT_NAMES
from app.model import NAME
from app.notify import wire

#: The headers of every answer that holds a configuration or a file of one.
CONFIG_HEADERS = ("ETag", "X-Config-Version", "X-Config-Rev", "X-Config-Stale")
TOPIC_PATTERN = f"^{NAME.pattern}/{NAME.pattern}(,{NAME.pattern}){{0,15}}(/.+)?$"
ETAG_PATTERN = "^[0-9a-f]{32}$"
_COMMIT = "c33e451d4929cd3d56722eddebeb70f6c5186b72"


class StatusSchema(Schema):
    """One word."""

    status = fields.String(required=True)


class PartSchema(Schema):
    """One part of the server, by its own word."""

    status = fields.String(required=True, metadata={"enum": ["ok", "degraded", "down"]})
    since = fields.String(required=True, metadata={"format": "date-time"})
    detail = fields.String()


class HealthSchema(Schema):
    """Every part's state; `status` is that of the worst."""

    status = fields.String(required=True, metadata={"enum": ["ok", "degraded", "down"]})
    ready = fields.Boolean(required=True)
    parts = fields.Dict(keys=fields.String(), values=fields.Nested(PartSchema), required=True)


def _text(media_type: str, example: str) -> Mapping[str, Part]:
    return {media_type: {"schema": {"type": "string"}, "example": example}}


_CONFIG_EXAMPLE = {
    "service": "pay",
    "env": "prod",
    "label": "main",
    "version": _COMMIT,
    "head": _COMMIT,
    "etag": "fef0bd886b300ddafcfe060a459db68a",
    "config": {"log": "debug", "db": {"pool": 9}},
}
_UNCHANGED = Answer("The caller's copy is still right. Also the end of a `wait` without a change.", {}, CONFIG_HEADERS)
_CHANGE = wire.Change(
    "pay/prod/main", "put", "eba6053b22c84006ad32a53cc5e0dacf", _COMMIT, _COMMIT, ("db.pool",), (),
    wire.text_of({"db": {"pool": 9}}),
    "b9a6d106d49e45bd12b0b365486d045874bb917292f3c409e44ad544856b58e3",
)  # fmt: skip
_STREAM_EXAMPLE = b"".join(
    frame.sse
    for frame in (
        wire.hello("39461f903247e426", "1-333234e7.2", 20),
        wire.subscribed(["pay/prod/main"], "full"),
        wire.change(_CHANGE),
        wire.with_digest(wire.sync("1-333234e7.2", "2026-11-23T09:37:35.801Z"), "1-333234e7.2", "3db939500646bf72"),
    )
).decode()
#: Anything: OpenAPI 3.1 has no schema for the events of a stream, and as one text it would never end.
_STREAM: Mapping[str, Part] = {"text/event-stream": {"schema": {}, "example": _STREAM_EXAMPLE}}
_FRAMES = (
    "Frames of `cfg.v1`, each a JSON object with a `type`: `hello`, `subscribed`, then a `change` for each topic that "
    "differs from what the client holds, closed by `sync`; later changes in the same way, and a `sync` as heartbeat. "
    "`error` tells of a topic that cannot be served now, `goodbye` precedes the end. docs/protocol has the contract."
)
_SIGNED = (
    "The body is the forge's own; of it only the branches and commits are looked at, and waited for. It proves itself "
    "by one header: an HMAC-SHA256 of the raw body with the shared secret, in hex, with or without `sha256=` "
    "(`X-Hub-Signature-256`, `X-Hub-Signature`, `X-Gitea-Signature`, `X-Gogs-Signature`), one over id, time and body "
    "(`webhook-signature`, as Standard Webhooks has it), or the secret itself (`X-Gitlab-Token`, `X-Gitee-Token`)."
)
_TOPICS: Part = {
    "name": "topic",
    "in": "query",
    "required": True,
    "explode": True,
    "description": "`service/env` or `service/env/label`, once for each topic.",
    "schema": {
        "type": "array",
        "minItems": 1,
        "maxItems": wire.MAX_TOPICS,
        "items": {"type": "string", "pattern": TOPIC_PATTERN},
    },
}
_TOPIC_ETAGS: Part = {
    "name": "etag",
    "in": "query",
    "explode": True,
    "description": "The `etag` (of the body or a frame) that the client holds of the `topic` written just before it.",
    "schema": {"type": "array", "items": {"type": "string", "pattern": ETAG_PATTERN}},
}
_ORIGIN: Part = {
    "name": "Origin",
    "in": "header",
    "description": "Browsers send it; it must then be one of `ALLOWED_ORIGINS`, else 403.",
    "schema": {"type": "string"},
}
_ACCEPT: Part = {
    "name": "accept",
    "in": "query",
    "description": "`patch`: a change may come as a JSON Patch of what the client holds.",
    "schema": {"type": "string", "enum": ["put", "patch"]},
}
_INSTANCE: Part = {
    "name": "X-Config-Instance",
    "in": "header",
    "description": "Which instance of a service this is: for gradual releases, limits, and the operator's list.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 128},
}
_LAST_EVENT_ID: Part = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The `id` of the last `sync`: if nothing has changed since, nothing is sent again.",
    "schema": {"type": "string"},
}
_SUBPROTOCOL: Part = {
    "name": "Sec-WebSocket-Protocol",
    "in": "header",
    "required": True,
    "description": f"Must offer `{wire.SUBPROTOCOL}`; may bring a ticket as a second one, `ticket.<value>`.",
    "schema": {"type": "string", "examples": [wire.SUBPROTOCOL]},
}
_ASSET: Part = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "A file of the page.",
    "schema": {"type": "string"},
}

_READ_FAILS = (
    errors.BadInput,
    errors.UnknownLabel,
    errors.UnknownTarget,
    errors.BadConfiguration,
    errors.SecretRefused,
    errors.RepositoryUnavailable,
    errors.SecretsUnavailable,
    errors.Behind,
)

OPERATIONS: Mapping[str, Operation] = {
    "config.read": Operation(
        "Configuration",
        "Read a configuration",
        "The configuration of a service in one or several envs, at the head of a label. Secrets are filled in for who "
        "holds `config:read`, and masked as `******` for who holds `config:view` only.",
        {
            200: Answer(
                "The configuration.",
                {
                    **json_of(ConfigSchema, _CONFIG_EXAMPLE),
                    **{
                        media: {"schema": {"type": "string", "description": f"The document alone, as {name}."}}
                        for name, media in FORMAT_NAMES.items()
                        if name != "json"
                    },
                },
                CONFIG_HEADERS,
            ),
            304: _UNCHANGED,
        },
        ("service", "env", "If-None-Match", "X-Config-Rev"),
        ReadQuery,
        (_INSTANCE,),
        fails=(*_READ_FAILS, errors.UnknownKey, errors.FormatCollision, errors.Unprocessable, errors.Overloaded),
    ),
    "config.file": Operation(
        "Configuration",
        "Read a plain file",
        "A file that lies beside the configuration, such as a logback.xml. Its placeholders are filled from the "
        "configuration; with `Accept: application/octet-stream` its bytes come as they are. "
        "Configuration files of other targets, and whatever lies in a dot-folder, do not exist here.",
        {
            200: Answer(
                "The file. The media type follows from its name.",
                {"*/*": {"schema": {"type": "string"}}},
                CONFIG_HEADERS,
            ),
            304: Answer("The caller's copy is still right.", {}, CONFIG_HEADERS),
        },
        ("service", "env", "path", "If-None-Match", "X-Config-Rev"),
        FileQuery,
        (_INSTANCE,),
        fails=(*_READ_FAILS, errors.UnknownFile),
    ),
    "history.revisions": Operation(
        "History",
        "What changed a configuration",
        "The commits that changed what readers get of this target, newest first, and the rotations of its secrets as "
        "far as this host has seen them. A comment, another order, or a shared key that is overridden is no change; "
        "neither is a commit that was held back.",
        {
            200: Answer(
                "A page.",
                json_of(
                    HistorySchema,
                    {
                        "service": "pay",
                        "env": "prod",
                        "label": "main",
                        "head": _COMMIT,
                        "revisions": [
                            {
                                "kind": "rotation",
                                "time": "2026-11-23T09:47:56.774Z",
                                "keys": ["db.password"],
                                "secret_version": 4,
                            },
                            {
                                "kind": "commit",
                                "commit": _COMMIT,
                                "author": "Ada <ada@example.org>",
                                "time": "2026-11-22T16:02:11Z",
                                "message": "A larger pool",
                                "signature": "N",
                                "keys": ["db.pool"],
                            },
                        ],
                        "next": None,
                    },
                ),
            )
        },
        ("service", "env"),
        HistoryQuery,
        fails=(
            errors.BadInput,
            errors.UnknownLabel,
            errors.UnknownTarget,
            errors.RepositoryUnavailable,
            errors.NotOffered,
        ),
    ),
    "history.diff": Operation(
        "History",
        "What differs between two states",
        "Between commits, labels, times or envs of a service: per key both values and where they come from. Values "
        "with a secret in them are `******` for everybody; that they differ is told.",
        {
            200: Answer(
                "The difference.",
                {
                    **json_of(
                        DiffSchema,
                        {
                            "service": "pay",
                            "from": {"env": "prod", "label": _COMMIT, "version": _COMMIT},
                            "to": {"env": "prod", "label": "main", "version": _COMMIT},
                            "changes": [
                                {
                                    "key": "db.pool",
                                    "change": "changed",
                                    "from": 9,
                                    "from_origin": "pay-prod.yml:3:9",
                                    "to": 20,
                                    "to_origin": "pay-prod.yml:3:9",
                                }
                            ],
                        },
                    ),
                    "application/json-patch+json": {"schema": {"type": "array", "items": {"type": "object"}}},
                },
            )
        },
        ("service", "env"),
        DiffQuery,
        fails=_READ_FAILS,
    ),
    "stream.events": Operation(
        "Streams",
        "Follow topics by Server-Sent Events",
        _FRAMES + " The event's name is the frame's type, its data the frame; `sync` alone carries an `id`.",
        {200: Answer("The stream.", _STREAM)},
        more=(_TOPICS, _TOPIC_ETAGS, _ACCEPT, _INSTANCE, _LAST_EVENT_ID, _ORIGIN),
        fails=(
            errors.BadInput,
            errors.Forbidden,
            errors.UnknownLabel,
            errors.UnknownTarget,
            errors.TooManyStreams,
            errors.Overloaded,
            errors.RepositoryUnavailable,
            errors.BusUnavailable,
        ),
    ),
    "stream.websocket": Operation(
        "Streams",
        "Follow topics by WebSocket",
        _FRAMES
        + " The client speaks too: `subscribe`, `unsubscribe`, `auth` (a new token for the same client) and `ack`. "
        "Close codes: 1012 the server restarts, or wants the client to come again; 4400 bad frame, 4401 the token has "
        "expired or is revoked, 4403 the new token is another client's or covers nothing, 4502 too many messages or "
        "streams.",
        {101: Answer("Upgraded.", {}, ("Sec-WebSocket-Protocol",))},
        more=(_SUBPROTOCOL, _INSTANCE, _ORIGIN),
        fails=(
            errors.BadInput,
            errors.Forbidden,
            errors.TooManyStreams,
            errors.Overloaded,
            errors.RepositoryUnavailable,
            errors.BusUnavailable,
        ),
        http_fails=(
            (400, "bad-request", "Not an upgrade to WebSocket."),
            (400, "bad-handshake", "Not a handshake of WebSocket version 13."),
        ),
    ),
    "tickets.issue": Operation(
        "Streams",
        "Trade the token for a ticket",
        "For a browser, which cannot send a token with a WebSocket. The ticket opens one stream, within half a minute, "
        "from the `Origin` of this request; the stream ends no later than the token. Takes no body.",
        {201: Answer("The ticket.", json_of(TicketSchema, {"ticket": "Zk0…", "expires_in": 30}))},
        fails=(errors.BusUnavailable,),
    ),
    "tickets.acknowledge": Operation(
        "Streams",
        "Tell what was done with a change",
        "For a client of an event stream; a WebSocket has the frame `ack`. For the operator's list of instances.",
        {204: Answer("Noted.")},
        fails=(errors.BadInput, errors.NotFound),
        body=json_body(AckBody),
    ),
    "overview.status": Operation(
        "Administration",
        "How the server is",
        "The health report, the revision that this worker has installed, and how many of the targets and instances "
        "that the caller may see are held back, fail, or are behind.",
        {200: Answer("The status.", json_of(ServerStatusSchema))},
        query=NoQuery,
        fails=(errors.BadInput, errors.RepositoryUnavailable),
    ),
    "overview.problems": Operation(
        "Administration",
        "What is wrong",
        "Targets that are served from an older version or cannot be served, since when, at which commit and why, and "
        "schemas that are not applied: of the targets that are asked for or followed (or `all`), as far as seen.",
        {
            200: Answer(
                "The problems.",
                json_of(
                    ProblemsSchema,
                    {
                        "problems": [
                            {
                                "kind": "held_back",
                                "reason": "invalid",
                                "since": "2026-11-23T09:47:56.774Z",
                                "service": "pay",
                                "env": "prod",
                                "label": "main",
                                "commit": _COMMIT,
                                "version": _COMMIT,
                                "file": "pay-prod.yml",
                                "line": 3,
                                "detail": "db.pool: must be at most 50",
                            }
                        ]
                    },
                ),
            )
        },
        query=ProblemsQuery,
        fails=(errors.BadInput, errors.RepositoryUnavailable),
    ),
    "overview.instances": Operation(
        "Administration",
        "Who is connected",
        "Every stream of every worker, per topic that the caller may see: which instance it is, what it has applied or "
        "rejected, and whether that is what it should have.",
        {200: Answer("A page.", json_of(InstancesSchema))},
        query=InstancesQuery,
        fails=(errors.BadInput, errors.RepositoryUnavailable),
    ),
    "admin.revoke": Operation(
        "Administration",
        "Refuse a token or a subject",
        "From now on and for as long as a token may live: requests are answered 401 by every worker, and streams end "
        "with 4401, within five seconds while Redis answers.",
        {204: Answer("On disk, and published.")},
        fails=(errors.BadInput, errors.AuditUnavailable, errors.Unavailable),
        body=json_body(RevocationBody),
    ),
    "admin.refresh": Operation(
        "Administration",
        "Fetch from Git now",
        "Asks every host to fetch, waits for this one, and tells where the default label stands then. Takes no body.",
        {
            200: Answer(
                "A fetch has ended well, and this worker has installed its result.",
                json_of(RefreshSchema),
            ),
            202: Answer(
                "The fetch takes longer and goes on; what is told is the state so far.", json_of(RefreshSchema)
            ),
        },
        fails=(errors.RepositoryUnavailable, errors.AuditUnavailable),
    ),
    "audit.records": Operation(
        "Administration",
        "What is on the trail",
        "Who did what, newest first. Values are never in it. The files of each host are the proof; what is answered "
        "here is a view of them.",
        {
            200: Answer(
                "A page; or, as JSON lines, everything that matches.",
                {**json_of(RecordsSchema), "application/jsonl": {"schema": {"type": "string"}}},
            )
        },
        query=AuditQuery,
        fails=(errors.BadInput, errors.NotOffered, errors.BusUnavailable, errors.AuditUnavailable),
    ),
    **CHANGE_OPERATIONS,
    **SPRING_OPERATIONS,
    "hooks.git": Operation(
        "Hooks",
        "Be told of a push",
        "A hint to fetch, for the webhook of a Git forge. " + _SIGNED,
        {
            202: Answer(
                "Signed. `accepted`: a fetch follows, and others until the announced commit is there; `repeated`: the "
                "same word was heard just now; `ignored`: it is not of a push.",
                json_of(StatusSchema, {"status": "accepted"}),
            )
        },
        fails=(errors.Unauthenticated, errors.NotFound),
        http_fails=((413, "too-large", "The body is larger than 1 MiB."),),
        body={"content": {"*/*": {"schema": {}}}},
    ),
    "health.live": Operation(
        "Health",
        "Is the process alive",
        "For a liveness probe.",
        {200: Answer("It answers.", json_of(StatusSchema, {"status": "ok"}))},
    ),
    "health.ready": Operation(
        "Health",
        "Should requests be sent here",
        "For a readiness probe: there is a configuration to serve, and the worker is not going away.",
        {
            200: Answer("Yes.", json_of(StatusSchema, {"status": "ready"})),
            503: Answer("No.", json_of(StatusSchema, {"status": "not ready"})),
        },
    ),
    "health.report": Operation(
        "Health",
        "The state of every part",
        "For people and dashboards. Asks no other system; 200 also when degraded, as the last good is being served.",
        {200: Answer("The report.", json_of(HealthSchema))},
    ),
    "health.metrics": Operation(
        "Health",
        "Metrics of all workers",
        "For Prometheus; OpenMetrics by `Accept`. Takes `config:view`, unless METRICS says `public` or names "
        "a port: then it is there, without a token, and nowhere else.",
        {200: Answer("The scrape.", _text("text/plain", "config_server_cursor_seq 4.0\n"))},
        http_fails=((404, "not-found", "METRICS names a port, and this is another."),),
    ),
    "docs.openapi": Operation(
        "Documentation",
        "This document",
        "OpenAPI 3.1, generated from the code that answers.",
        {200: Answer("The document.", {"application/json": {"schema": {"type": "object"}}}, ("ETag",))},
    ),
    "docs.page": Operation(
        "Documentation",
        "This document, for people",
        "Needs nothing from elsewhere, and no script.",
        {200: Answer("The page.", {"text/html": {"schema": {"type": "string"}}})},
    ),
    "docs.asset": Operation(
        "Documentation",
        "A file of the page",
        "Style, script and icon.",
        {200: Answer("The file.", {"*/*": {"schema": {"type": "string"}}}, ("ETag",))},
        more=(_ASSET,),
        http_fails=((404, "not-found", "The page has no such file."),),
    ),
}
