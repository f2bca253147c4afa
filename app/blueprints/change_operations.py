"""What the routes of plans and changes take and answer, for /openapi.json."""

from __future__ import annotations

from collections.abc import Mapping

from app import errors
from app.blueprints.change_schemas import (
    ChangeBody,
    ConfirmedSchema,
    DoneSchema,
    HoldBody,
    HoldSchema,
    PlanBody,
    PlanSchema,
    PromoteBody,
    ReleaseBody,
    ReleaseSchema,
    RollbackBody,
)
from app.blueprints.operation import Answer, Operation, json_body, json_of

_PLAN_FAILS = (
    errors.BadInput,
    errors.UnknownLabel,
    errors.BadConfiguration,
    errors.RepositoryUnavailable,
)
_CHANGE_FAILS = (
    *_PLAN_FAILS,
    errors.Conflict,
    errors.WouldBreak,
    errors.PushRejected,
    errors.Frozen,
    errors.NotOffered,
    errors.AuditUnavailable,
)
_TOO_LARGE = ((413, "too-large", "The body is larger than 8 MiB."),)
_NOT_YET = "Pushed; this worker has not installed it yet, so `rev` is null."

_HOLD_FAILS = (
    errors.BadInput,
    errors.UnknownLabel,
    errors.RepositoryUnavailable,
    errors.BusUnavailable,
    errors.AuditUnavailable,
    errors.Overloaded,
)

CHANGE_OPERATIONS: Mapping[str, Operation] = {
    "changes.plan": Operation(
        "Changes",
        "What a change would do",
        "Every known target whose configuration would differ: per key with origins, whether it could still be served, "
        "and how many streams follow it. Changes nothing. Secrets are masked, and what the caller may not see is left "
        "out and counted.",
        {200: Answer("The plan.", json_of(PlanSchema))},
        fails=_PLAN_FAILS,
        http_fails=_TOO_LARGE,
        body=json_body(PlanBody),
    ),
    "changes.change": Operation(
        "Changes",
        "Change files",
        "By key or whole, as one commit by the caller on a branch, pushed to the repository. Comments and order stay. "
        "Takes `config:write` for every configuration that a file concerns; shared files take it for everything. "
        "Refused whole if any target would break.",
        {200: Answer("Pushed and installed.", json_of(DoneSchema)), 202: Answer(_NOT_YET, json_of(DoneSchema))},
        fails=_CHANGE_FAILS,
        http_fails=_TOO_LARGE,
        body=json_body(ChangeBody),
    ),
    "changes.rollback": Operation(
        "Changes",
        "Roll back",
        "A service's files, given files, or everything, as of a former commit, by a new commit. A dry run unless "
        "`confirm` is the plan's id.",
        {
            200: Answer("The plan, or what was done.", json_of(ConfirmedSchema)),
            202: Answer(_NOT_YET, json_of(ConfirmedSchema)),
        },
        fails=_CHANGE_FAILS,
        http_fails=_TOO_LARGE,
        body=json_body(RollbackBody),
    ),
    "hold.begin": Operation(
        "Changes",
        "Hold a branch at a commit",
        "For a while all hosts serve the branch as it was, with `stale: held` in every answer; what is pushed "
        "meanwhile is served when the hold ends. Needs no Git server and no credentials to write.",
        {200: Answer("Held.", json_of(HoldSchema)), 202: Answer("Announced.", json_of(HoldSchema))},
        fails=_HOLD_FAILS,
        body=json_body(HoldBody),
    ),
    "hold.release": Operation(
        "Changes",
        "Let go of a branch",
        "Before its hold ends by itself.",
        {
            200: Answer("It is served where it stands.", json_of(ReleaseSchema)),
            202: Answer("Announced.", json_of(ReleaseSchema)),
        },
        fails=_HOLD_FAILS,
        body=json_body(ReleaseBody),
    ),
    "changes.promote": Operation(
        "Changes",
        "Promote from one env to another",
        "A service's files of one env become those of another, by a new commit; none is deleted. A dry run unless "
        "`confirm` is the plan's id.",
        {
            200: Answer("The plan, or what was done.", json_of(ConfirmedSchema)),
            202: Answer(_NOT_YET, json_of(ConfirmedSchema)),
        },
        fails=_CHANGE_FAILS,
        http_fails=_TOO_LARGE,
        body=json_body(PromoteBody),
    ),
}
