"""What the tests of the trail share: events, a clock, and reading a chain back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.audit import AuditEvent, Outcome, Verdict, verify_chain


class Clock:
    """A clock that the test moves; Unix seconds."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def event(action: str = "config.refresh", **fields: Any) -> AuditEvent:
    return AuditEvent(action, fields.pop("outcome", Outcome.ALLOWED), **fields)


def records(path: Path) -> list[dict[str, Any]]:
    """But for a line that is being written."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def actions(path: Path) -> list[str]:
    return [record["action"] for record in records(path)]


def proven(path: Path) -> Verdict:
    return verify_chain(path.read_bytes().splitlines(keepends=True))
