"""What an HTTP answer means: a document, nothing new, or which trouble."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config_client.core.events import Answered, Failed
from config_client.core.ladder import Trouble
from config_client.document import Document, from_answer


@dataclass(frozen=True, slots=True)
class Outcome:
    """`document` that came, or `same` when nothing has changed, or `trouble` with what people should be told of it.

    `is_final`: asking again does not help.
    """

    document: Document | None = None
    same: bool = False
    trouble: Trouble | None = None
    reason: str = ""
    status: int = 0
    type: str = ""
    retry_after: float = 0.0
    rev: str = ""

    @property
    def is_final(self) -> bool:
        return 400 <= self.status < 500 and self.status not in (401, 408, 422, 425, 429)


def outcome(event: Answered | Failed) -> Outcome:
    if isinstance(event, Failed):
        return Outcome(trouble=Trouble.UNREACHABLE, reason=event.reason)
    if event.status == 304:
        return Outcome(same=True, rev=event.headers.get("x-config-rev", ""))
    if event.status == 200:
        try:
            document = from_answer(json.loads(event.body), event.headers)
        except (ValueError, KeyError, TypeError, RecursionError):
            return Outcome(trouble=Trouble.BROKEN, reason="the answer is no configuration")
        return Outcome(document=document, rev=document.rev)
    return _refusal(event)


def _refusal(event: Answered) -> Outcome:
    problem = _problem(event.body)
    kind = str(problem.get("type", "")).removeprefix("urn:config-server:")
    detail = problem.get("detail") or problem.get("title") or "no reason was given"
    return Outcome(
        trouble=trouble_of(event.status),
        reason=f"{event.status} {kind}: {detail}" if kind else f"{event.status}: {detail}",
        status=event.status,
        type=kind,
        retry_after=seconds(event.headers.get("retry-after", "")),
    )


def trouble_of(status: int) -> Trouble:
    """Of an HTTP status that is no success."""
    if status == 401:
        return Trouble.DENIED
    if status in (429, 503):
        return Trouble.BUSY
    return Trouble.REFUSED if status < 500 else Trouble.BROKEN


def seconds(text: str) -> float:
    """Of a Retry-After; dates are not given by this server and count as none. An hour at most."""
    return min(float(text), 3600.0) if text.strip().isdigit() else 0.0


def _problem(body: bytes) -> Mapping[str, Any]:
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return problem if isinstance(problem, dict) else {}
