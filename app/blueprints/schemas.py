"""The shapes of queries and answers (marshmallow): what is checked, and what /openapi.json describes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import Request
from marshmallow import RAISE, Schema, ValidationError, fields, validate
from werkzeug.datastructures import MultiDict

from app.engine import FORMAT_NAMES
from app.errors import BadInput

#: Words that a careless client puts a token into. They are ignored, never read and never logged.
_TOKEN_WORDS = frozenset({"jwt", "token", "access_token", "ticket"})


_AT = "RFC 3339: as the label stood then, by the committers' times along first parents."

_STATE = "A label, a commit, or a time (RFC 3339). `from` may be left out where the envs differ, `to` always: the head."
_ENV = "Another env, or several, than those in the path."
_SIDE = validate.Length(1, 600)


class ReadQuery(Schema):
    """The query of GET /v1/config/{service}/{env}."""

    class Meta:
        unknown = RAISE

    label = fields.String(metadata={"description": "Branch, tag or 40-hex commit id; the default label if absent."})
    at = fields.AwareDateTime(format="iso", metadata={"description": _AT})
    format = fields.String(
        validate=validate.OneOf(list(FORMAT_NAMES)), metadata={"description": "Or by the Accept header."}
    )
    key = fields.String(
        validate=validate.Length(1, 512), metadata={"description": "A key path such as db.pool: only this part."}
    )
    explain = fields.Boolean(
        load_default=False, metadata={"description": "Where each value comes from and what it hides (JSON only)."}
    )
    flat = fields.Boolean(load_default=False, metadata={"description": "Key paths instead of nested maps."})
    wait = fields.Float(
        load_default=0.0,
        allow_nan=False,
        validate=validate.Range(0, 50),
        metadata={"description": "With If-None-Match: seconds to wait for a change before 304."},
    )


class FileQuery(Schema):
    """The query of GET /v1/config/{service}/{env}/{path}."""

    class Meta:
        unknown = RAISE

    label = fields.String(metadata={"description": "Branch, tag or 40-hex commit id; the default label if absent."})
    at = fields.AwareDateTime(format="iso", metadata={"description": _AT})


class HistoryQuery(Schema):
    """The query of GET /v1/history/{service}/{env}."""

    class Meta:
        unknown = RAISE

    label = fields.String(metadata={"description": "Branch, tag or 40-hex commit id; the default label if absent."})
    at = fields.AwareDateTime(format="iso", metadata={"description": _AT})
    cursor = fields.String(
        validate=validate.Length(1, 100), metadata={"description": "`next` of the page before: what came earlier."}
    )
    limit = fields.Integer(
        load_default=20, validate=validate.Range(1, 100), metadata={"description": "Commits on a page."}
    )


class DiffQuery(Schema):
    """The query of GET /v1/diff/{service}/{env}."""

    class Meta:
        unknown = RAISE

    # `from` is a word of Python.
    from_ = fields.String(data_key="from", validate=_SIDE, metadata={"description": _STATE})
    to = fields.String(validate=_SIDE, metadata={"description": _STATE})
    from_env = fields.String(validate=_SIDE, metadata={"description": _ENV})
    to_env = fields.String(validate=_SIDE, metadata={"description": _ENV})
    label = fields.String(metadata={"description": "What times are of, and the side that is not given."})
    format = fields.String(
        validate=validate.OneOf(["json", "patch"]), metadata={"description": "`patch`: RFC 6902. Or by Accept."}
    )


class RevisionSchema(Schema):
    """A commit or a rotation that changed the configuration."""

    kind = fields.String(required=True, metadata={"enum": ["commit", "rotation"]})
    time = fields.String(required=True, metadata={"description": "RFC 3339: the committer's, or of the rotation."})
    keys = fields.List(
        fields.String(), required=True, metadata={"description": "Key paths that changed, a hundred at most."}
    )
    commit = fields.String()
    author = fields.String()
    message = fields.String()
    signature = fields.String(
        allow_none=True,
        metadata={
            "description": "Git's %G?: N none, G good, U good but of an unknown key, B bad, E cannot be checked; "
            "null where no signers are known."
        },
    )
    signer = fields.String(metadata={"description": "Whose good signature it is."})
    secret_version = fields.Integer(metadata={"description": "Of a rotation: the version that came."})


class HistorySchema(Schema):
    """A page of history, newest first."""

    service = fields.String(required=True)
    env = fields.String(required=True)
    label = fields.String(required=True)
    head = fields.String(required=True)
    revisions = fields.List(fields.Nested(RevisionSchema), required=True)
    next = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The next page's cursor; null when there is none. A page may be short, or empty."},
    )


class SideSchema(Schema):
    """One side of a diff, as it was resolved."""

    env = fields.String(required=True)
    label = fields.String(required=True)
    version = fields.String(required=True)
    stale = fields.List(fields.Nested("StaleSchema"))


class KeyChangeSchema(Schema):
    """One key that differs; a value with a secret in it is `******`."""

    key = fields.String(required=True)
    change = fields.String(required=True, metadata={"enum": ["added", "removed", "changed"]})
    from_ = fields.Raw(data_key="from")
    to = fields.Raw()
    from_origin = fields.String(allow_none=True, metadata={"description": "file:line:column"})
    to_origin = fields.String(allow_none=True)


class DiffSchema(Schema):
    """What differs; empty if nothing does."""

    service = fields.String(required=True)
    from_ = fields.Nested(SideSchema, required=True, data_key="from")
    to = fields.Nested(SideSchema, required=True)
    changes = fields.List(fields.Nested(KeyChangeSchema), required=True)


class StaleSchema(Schema):
    reason = fields.String(required=True, metadata={"description": "git, vault, invalid, secret, behind or held"})
    since = fields.String(required=True, metadata={"description": "RFC 3339"})
    commit = fields.String(metadata={"description": "The commit that is held back."})
    detail = fields.String(metadata={"description": "What is wrong with it: file, line, reason, or the properties."})


class OriginSchema(Schema):
    origin = fields.String(required=True, metadata={"description": "file:line:column"})
    overridden = fields.List(fields.String(), required=True)


class ConfigSchema(Schema):
    """One target's configuration."""

    service = fields.String(required=True)
    env = fields.String(required=True)
    label = fields.String(required=True)
    version = fields.String(required=True, metadata={"description": "Commit that the content comes from."})
    head = fields.String(required=True, metadata={"description": "Commit that the label stands at."})
    etag = fields.String(required=True)
    rollout = fields.String(
        metadata={"description": "The branch that this instance gets in place of the label; `version` is of it."}
    )
    stale = fields.List(fields.Nested(StaleSchema))
    unresolved = fields.List(
        fields.String(), metadata={"description": "Keys whose secret references stay as written (label policy)."}
    )
    config = fields.Raw(required=True)
    explain = fields.Dict(keys=fields.String(), values=fields.Nested(OriginSchema))


class ProblemSchema(Schema):
    """RFC 9457."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    request_id = fields.String(required=True)
    field = fields.String(metadata={"description": "400: the part of the request at fault."})
    file = fields.String(metadata={"description": "422: the file in the configuration repository."})
    line = fields.Integer(allow_none=True)
    reason = fields.String()
    schema = fields.String(metadata={"description": "422: the rule of a schema that is broken, as file#/pointer."})
    key = fields.String(metadata={"description": "422: the key path of the value that breaks it."})
    keys = fields.List(fields.String(), metadata={"description": "422: the properties whose secret is refused."})
    plan = fields.Dict(
        keys=fields.String(), metadata={"description": "409: made on what is there now. 422: what would break."}
    )


class RefreshSchema(Schema):
    rev = fields.String(required=True)
    label = fields.String(required=True)
    version = fields.String(required=True)
    fetched = fields.Boolean(required=True, metadata={"description": "False: the fetch is still going on."})
    stale = fields.List(fields.Nested(StaleSchema), required=True)


class AckBody(Schema):
    """What a client of an event stream did with a change."""

    class Meta:
        unknown = RAISE

    conn = fields.String(
        required=True, validate=validate.Regexp("^[0-9a-f]{16}$"), metadata={"description": "Of the frame `hello`."}
    )
    rev = fields.String(required=True, validate=validate.Length(1, 600))
    topic = fields.String(required=True, validate=validate.Length(1, 600))
    etag = fields.String(required=True, validate=validate.Length(1, 600))
    status = fields.String(required=True, validate=validate.OneOf(["applied", "rejected"]))
    reason = fields.String(validate=validate.Length(1, 600))


class RevocationBody(Schema):
    """What to refuse from now on."""

    class Meta:
        unknown = RAISE

    kind = fields.String(
        required=True, validate=validate.OneOf(["jti", "sub"]), metadata={"description": "One token, or a subject."}
    )
    value = fields.String(required=True, validate=validate.Length(1, 255))
    issuer = fields.String(
        validate=validate.Length(1, 1024),
        metadata={"description": "Whose token or subject; needed if several issuers are trusted."},
    )


class TextBody(Schema):
    """A text to encrypt or decrypt, or what has become of it."""

    class Meta:
        unknown = RAISE

    value = fields.String(required=True, validate=validate.Length(0, 1 << 16))


class EncryptBody(TextBody):
    """A text to encrypt: with the server's key, or with one of Vault's transit engine."""

    key = fields.String(
        validate=validate.Regexp(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z"),
        metadata={"description": "Which of the server's keys.", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"},
    )
    transit = fields.String(
        validate=validate.Regexp(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z"),
        metadata={"description": "The name of a key in Vault.", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"},
    )


class TicketSchema(Schema):
    """A ticket for one stream."""

    ticket = fields.String(required=True)
    expires_in = fields.Integer(required=True, metadata={"description": "Seconds."})


class NoQuery(Schema):
    """Takes nothing."""

    class Meta:
        unknown = RAISE


class ProblemsQuery(Schema):
    """The query of GET /v1/admin/problems."""

    class Meta:
        unknown = RAISE

    all = fields.Boolean(
        load_default=False,
        metadata={
            "description": "Also of targets that nobody asks for, as far as the repository speaks of them. That takes "
            "about a millisecond for each, once for each commit."
        },
    )


class InstancesQuery(Schema):
    """The query of GET /v1/admin/instances."""

    class Meta:
        unknown = RAISE

    behind = fields.Boolean(metadata={"description": "Only those that are, or are not. The totals count all."})
    service = fields.String(validate=validate.Length(1, 128))
    env = fields.String(validate=validate.Length(1, 2100))
    limit = fields.Integer(load_default=500, validate=validate.Range(1, 5000))
    offset = fields.Integer(load_default=0, validate=validate.Range(0, 10_000_000))


class RejectionSchema(Schema):
    """What a client did not take."""

    etag = fields.String(required=True)
    reason = fields.String(required=True, allow_none=True)
    at = fields.String(required=True)


class InstanceSchema(Schema):
    """One topic of one stream."""

    service = fields.String(required=True)
    env = fields.String(required=True)
    label = fields.String(required=True)
    connection = fields.String(required=True)
    instance = fields.String(required=True, allow_none=True)
    version = fields.String(required=True, allow_none=True, metadata={"description": "Of the client, as it says."})
    transport = fields.String(required=True)
    subject = fields.String(required=True)
    address = fields.String(required=True)
    since = fields.String(required=True)
    applied = fields.String(required=True, allow_none=True, metadata={"description": "The etag that it runs with."})
    rev = fields.String(required=True, allow_none=True)
    acknowledged = fields.String(required=True, allow_none=True, metadata={"description": "When it last said so."})
    behind = fields.Boolean(
        required=True, allow_none=True, metadata={"description": "Null for a client that acknowledges nothing."}
    )
    rejected = fields.Nested(RejectionSchema, required=True, allow_none=True)
    rollout = fields.String(
        required=True, allow_none=True, metadata={"description": "The branch that it gets in place of the label."}
    )


class TotalsSchema(Schema):
    """How many there are; `silent` ones acknowledge nothing, `rollout` ones get another branch."""

    all = fields.Integer(required=True)
    behind = fields.Integer(required=True)
    rejected = fields.Integer(required=True)
    silent = fields.Integer(required=True)
    rollout = fields.Integer(required=True)
    versions = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True)


class InstancesSchema(Schema):
    """A page of instances, by target."""

    totals = fields.Nested(TotalsSchema, required=True)
    instances = fields.List(fields.Nested(InstanceSchema), required=True)
    next = fields.Integer(required=True, allow_none=True, metadata={"description": "The next page's `offset`."})


_KINDS = ["held_back", "stale", "failing", "bad", "schema", "rollout", "unsigned", "server"]


class HeldSchema(Schema):
    """One thing that is wrong."""

    kind = fields.String(required=True, metadata={"enum": _KINDS})
    reason = fields.String(required=True)
    since = fields.String(metadata={"description": "RFC 3339"})
    service = fields.String()
    env = fields.String()
    label = fields.String()
    commit = fields.String(metadata={"description": "Where it is wrong: the commit that is held back."})
    version = fields.String(metadata={"description": "The commit that is served instead."})
    detail = fields.String()
    file = fields.String()
    line = fields.Integer()
    schema = fields.String(metadata={"description": "The rule that is broken."})
    keys = fields.List(fields.String())


class ProblemsSchema(Schema):
    """What is wrong now; empty if nothing is."""

    problems = fields.List(fields.Nested(HeldSchema), required=True)


class TargetsSchema(Schema):
    """Of those that the caller may see."""

    known = fields.Integer(required=True, metadata={"description": "That the repository speaks of, or are asked for."})
    held_back = fields.Integer(required=True, metadata={"description": "Of those that are asked for or followed."})
    failing = fields.Integer(required=True)


class FurtherRepositorySchema(Schema):
    """Where the default label of a further repository stands."""

    label = fields.String(required=True)
    head = fields.String(required=True, allow_none=True)
    since = fields.String(required=True, allow_none=True)
    stale = fields.List(fields.Nested(StaleSchema), required=True)


class ServerStatusSchema(Schema):
    """How the server is: the health report, and more."""

    status = fields.String(required=True)
    ready = fields.Boolean(required=True)
    parts = fields.Dict(required=True)
    rev = fields.String(required=True)
    label = fields.String(required=True)
    head = fields.String(required=True, allow_none=True)
    since = fields.String(required=True, allow_none=True, metadata={"description": "Since when the label is there."})
    stale = fields.List(fields.Nested(StaleSchema), required=True)
    repositories = fields.Dict(
        keys=fields.String(),
        values=fields.Nested(FurtherRepositorySchema),
        required=True,
        metadata={"description": "The further repositories, by name, for who may see every configuration."},
    )
    targets = fields.Nested(TargetsSchema, required=True)
    instances = fields.Nested(TotalsSchema, required=True)


def moment(at: datetime | None) -> int | None:
    """Unix seconds. Raises BadInput for a time without an offset, or beyond what Git can tell."""
    if at is None:
        return None
    if at.tzinfo is None or not 0 <= at.timestamp() < 1 << 40:
        raise BadInput("at", "a time is written as in RFC 3339, 2026-01-31T12:00:00Z")
    return int(at.timestamp())


def load_body(schema: Schema, request: Request) -> dict[str, Any]:
    """The JSON body. Raises BadInput naming the first field at fault."""
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise BadInput("body", "is not a JSON object of type application/json")
    return _loaded(schema, body)


def load_query(schema: Schema, query: MultiDict[str, str]) -> dict[str, Any]:
    """Raises BadInput naming the first field at fault: unknown, repeated or of the wrong kind."""
    given = {name: values for name, values in query.lists() if name not in _TOKEN_WORDS}
    repeated = [name for name, values in given.items() if len(values) > 1]
    if repeated:
        raise BadInput(_shown(repeated[0]), "is given more than once")
    return _loaded(schema, {name: values[0] for name, values in given.items()})


def _loaded(schema: Schema, given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = schema.load(dict(given))
    except ValidationError as failure:
        messages = failure.messages if isinstance(failure.messages, dict) else {}
        name, reasons = next(iter(messages.items()), ("query", None))
        raise BadInput(_shown(name), _first(reasons)) from failure
    return loaded


def _first(reasons: object) -> str:
    """The first reason; of a list or map inside, with where it is."""
    if isinstance(reasons, dict) and reasons:
        name, below = next(iter(reasons.items()))
        return f"{name if isinstance(name, int) else _shown(name)}: {_first(below)}"
    return str(reasons[0]) if isinstance(reasons, list) and reasons else "is not valid"


def _shown(name: str) -> str:
    return name if name.isidentifier() and len(name) <= 40 else "query"
