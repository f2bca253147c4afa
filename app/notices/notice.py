"""What is told to others outside: which names and commits, never a value of a configuration, never a message."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from app.model import Json

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Notice:
    """`id` is the same in every worker that finds out about it, so that one of them tells it, and a receiver that
    hears it twice can see that."""

    id: str
    type: str
    time: str
    data: Mapping[str, Json]

    def as_bytes(self) -> bytes:
        body = {"schema": SCHEMA, "id": self.id, "type": self.type, "timestamp": self.time, "data": dict(self.data)}
        return json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode()


def notice(kind: str, now: float, *, of: tuple[str, ...], **data: Json) -> Notice:
    """`of` is what makes it this one and no other; `now` is Unix seconds. Data that is None is left out."""
    identity = hashlib.sha256(json.dumps([kind, *of]).encode()).hexdigest()[:32]
    told = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Notice(identity, kind, told, {name: value for name, value in data.items() if value is not None})
