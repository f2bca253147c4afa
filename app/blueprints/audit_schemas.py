"""What GET /v1/admin/audit takes and answers."""

from __future__ import annotations

from marshmallow import RAISE, Schema, fields, validate

from app.audit import Outcome

_NAME = validate.Length(1, 300)


class AuditQuery(Schema):
    """The query of GET /v1/admin/audit."""

    class Meta:
        unknown = RAISE

    subject = fields.String(validate=_NAME)
    action = fields.String(
        validate=validate.Length(1, 100), metadata={"description": "`*` stands for anything: `config.*`."}
    )
    target = fields.String(
        validate=validate.Length(1, 600), metadata={"description": "A topic, or its beginning: `pay`, `pay/prod`."}
    )
    outcome = fields.String(validate=validate.OneOf([each.value for each in Outcome]))
    version = fields.String(validate=validate.Regexp("^[0-9a-f]{40}$"), metadata={"description": "A commit."})
    request_id = fields.String(validate=_NAME)
    since = fields.AwareDateTime(metadata={"description": "RFC 3339; from then on."})
    until = fields.AwareDateTime(metadata={"description": "RFC 3339; before then."})
    scope = fields.String(
        validate=validate.OneOf(["cluster", "host"]),
        metadata={
            "description": "`cluster`: of all hosts, the newest, as Redis keeps them, and the default where it is. "
            "`host`: all that is in this host's files."
        },
    )
    format = fields.String(
        validate=validate.OneOf(["json", "jsonl"]),
        metadata={"description": "`jsonl`: all that match, a record a line; takes no `limit` and no `cursor`."},
    )
    limit = fields.Integer(validate=validate.Range(1, 1000), metadata={"description": "100 if absent."})
    cursor = fields.String(validate=validate.Length(1, 8000), metadata={"description": "`next` of the former page."})


class RecordSchema(Schema):
    """One record, and the host whose trail it is of."""

    host = fields.String(required=True)
    schema = fields.Integer(required=True)
    time = fields.String(required=True)
    chain = fields.String(required=True)
    seq = fields.Integer(required=True)
    request_id = fields.String(required=True, allow_none=True)
    issuer = fields.String(required=True, allow_none=True)
    subject = fields.String(required=True, allow_none=True)
    action = fields.String(required=True)
    target = fields.String(required=True, allow_none=True)
    outcome = fields.String(required=True)
    version = fields.String(required=True, allow_none=True)
    keys = fields.List(fields.String(), required=True, metadata={"description": "Names, never values."})
    address = fields.String(required=True, allow_none=True)
    detail = fields.String(required=True, allow_none=True)
    count = fields.Integer(required=True)
    previous = fields.String(required=True)
    hash = fields.String(required=True)


class RecordsSchema(Schema):
    """A page of records, newest first."""

    scope = fields.String(required=True)
    records = fields.List(fields.Nested(RecordSchema), required=True)
    next = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The next page's `cursor`. A page may be short and not the last."},
    )
