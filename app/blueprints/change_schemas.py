"""The shapes of plans and changes (marshmallow)."""

from __future__ import annotations

import re

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from app.model import NAME

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LABEL = {"description": "A branch; the default label if absent."}
_ENV = validate.Regexp(f"^{NAME.pattern}$")
_COMMIT_ID = validate.Regexp("^[0-9a-f]{40}$")


def _plain_text(text: str) -> None:
    """A commit's message and a reason are read by people, in terminals too."""
    if not text.strip() or _CONTROL.search(text):
        raise ValidationError("must be text without control characters")


class _Body(Schema):
    class Meta:
        unknown = RAISE


class EditBody(_Body):
    """One file's edit: `set` and `unset` by key, or its whole `text`, or `delete`."""

    file = fields.String(required=True, validate=validate.Length(1, 512))
    set = fields.Dict(keys=fields.String(validate=validate.Length(1, 512)), values=fields.Raw(allow_none=True))
    unset = fields.List(fields.String(validate=validate.Length(1, 512)), validate=validate.Length(max=100))
    document = fields.Integer(
        strict=True,
        validate=validate.Range(0, 1000),
        metadata={"description": "Which document of the file, from 0; needed where there are several."},
    )
    text = fields.String()
    delete = fields.Boolean(truthy={True}, falsy={False})


_COUNT = validate.Length(1, 100)


class PlanBody(_Body):
    """What to plan: edits, or a commit that the branch would stand at."""

    label = fields.String(metadata=_LABEL)
    edits = fields.List(fields.Nested(EditBody), validate=_COUNT)
    commit = fields.String(metadata={"description": "A branch, a tag, or a reachable 40-hex commit id."})


class _Order(_Body):
    label = fields.String(metadata=_LABEL)
    override = fields.String(
        validate=[validate.Length(1, 500), _plain_text],
        metadata={"description": "The reason to go through a freeze; audited."},
    )


class ChangeBody(_Order):
    """What to change."""

    base = fields.String(
        required=True, validate=_COMMIT_ID, metadata={"description": "The `head` that was read before."}
    )
    edits = fields.List(fields.Nested(EditBody), required=True, validate=_COUNT)
    message = fields.String(required=True, validate=[validate.Length(1, 10_000), _plain_text])


class _Confirmed(_Order):
    message = fields.String(validate=[validate.Length(1, 10_000), _plain_text])
    confirm = fields.String(
        validate=validate.Regexp("^[0-9a-f]{40}$"),
        metadata={"description": "The `id` of the plan; without it nothing is done."},
    )


class RollbackBody(_Confirmed):
    """What to roll back, and to which commit."""

    to = fields.String(required=True, metadata={"description": "A commit that the branch has been at, or its tag."})
    service = fields.String(metadata={"description": "The files that concern this service alone."})
    files = fields.List(fields.String(validate=validate.Length(1, 512)), validate=validate.Length(1, 1000))
    all = fields.Boolean(load_default=False, truthy={True}, falsy={False})


class PromoteBody(_Confirmed):
    """Which service's files of one env become those of another."""

    service = fields.String(required=True)
    source = fields.String(required=True, data_key="from", validate=_ENV)
    target = fields.String(required=True, data_key="to", validate=_ENV)


class HoldBody(_Body):
    """Where to keep a branch, how long, and why."""

    label = fields.String(metadata=_LABEL)
    commit = fields.String(required=True, metadata={"description": "A commit that the branch has been at, or its tag."})
    seconds = fields.Float(required=True, allow_nan=False, validate=validate.Range(1, 7 * 86_400))
    reason = fields.String(required=True, validate=[validate.Length(1, 500), _plain_text])


class ReleaseBody(_Body):
    """Which branch to let go."""

    label = fields.String(metadata=_LABEL)


class HoldSchema(Schema):
    """A hold, and the revision that has it here (null: not yet)."""

    commit = fields.String(required=True)
    until = fields.String(required=True, metadata={"format": "date-time"})
    rev = fields.String(required=True, allow_none=True)


class ReleaseSchema(Schema):
    """The revision that is without the hold here (null: not yet)."""

    rev = fields.String(required=True, allow_none=True)


class FileChangeSchema(Schema):
    path = fields.String(required=True)
    op = fields.String(required=True, metadata={"enum": ["add", "change", "delete"]})


class PlannedKeySchema(Schema):
    key = fields.String(required=True)
    op = fields.String(required=True, metadata={"enum": ["add", "replace", "remove"]})
    old = fields.Raw(metadata={"description": "`******` for what holds a secret."})
    new = fields.Raw(allow_none=True)
    old_origin = fields.String(metadata={"description": "file:line:column"})
    new_origin = fields.String()


class TargetPlanSchema(Schema):
    service = fields.String(required=True)
    env = fields.String(required=True)
    verdict = fields.String(
        required=True,
        metadata={
            "enum": ["ok", "mended", "breaks", "broken"],
            "description": "`breaks`: served by its head now, and not any more; `broken`: neither; `mended`: again.",
        },
    )
    changes = fields.List(fields.Nested(PlannedKeySchema), required=True)
    more_changes = fields.Integer()
    instances = fields.Integer(required=True, metadata={"description": "Streams that follow it now."})
    problem = fields.Dict(keys=fields.String(), metadata={"description": "Why it could not be served."})
    denied = fields.List(
        fields.String(), metadata={"description": "Keys whose secret reference the path policy refuses."}
    )


class PlanSchema(Schema):
    """What a change would do. What the caller may not see is counted in `hidden`."""

    id = fields.String(required=True, metadata={"description": "Stands for head, edits and outcome."})
    label = fields.String(required=True)
    head = fields.String(required=True)
    files = fields.List(fields.Nested(FileChangeSchema), required=True)
    skipped = fields.List(
        fields.String(), required=True, metadata={"description": "Would differ, and is not changed here (links)."}
    )
    targets = fields.List(fields.Nested(TargetPlanSchema), required=True)
    breaks = fields.List(fields.String(), required=True, metadata={"description": "Topics that would break."})
    instances = fields.Integer(required=True)
    hidden = fields.Integer(required=True)


class DoneSchema(Schema):
    """A commit at the origin."""

    commit = fields.String(required=True)
    label = fields.String(required=True)
    rev = fields.String(
        required=True, allow_none=True, metadata={"description": "The revision that has it here; null: not yet."}
    )
    plan = fields.Nested(PlanSchema, required=True)


class ConfirmedSchema(Schema):
    """A dry run (`dry_run` and `plan`), or a commit at the origin."""

    dry_run = fields.Boolean()
    commit = fields.String()
    label = fields.String()
    rev = fields.String(allow_none=True)
    plan = fields.Nested(PlanSchema, required=True)
