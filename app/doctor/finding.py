"""What a check has found, and how it is written."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


class Level(enum.StrEnum):
    OK = "ok"
    WARNING = "warning"  # the server runs, and will be sorry
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """`part` is as /health names it where it does; `remedy` is what to do, empty where nothing is."""

    part: str
    level: Level
    text: str
    remedy: str = ""

    def lines(self) -> Iterable[str]:
        yield f"{self.level.value:<8} {self.part:<9} {self.text}"
        if self.remedy:
            yield f"{'':<18} -> {self.remedy}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def ok(part: str, text: str) -> Finding:
    return Finding(part, Level.OK, text)


def warning(part: str, text: str, remedy: str) -> Finding:
    return Finding(part, Level.WARNING, text, remedy)


def failed(part: str, text: str, remedy: str) -> Finding:
    return Finding(part, Level.FAILED, text, remedy)
