"""An audit event, and the chained record it becomes: one line of JSON whose hash covers the line before."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import rfc8785

from app.model import Json
from app.observability.redaction import printable, redact_text

SCHEMA: Final = 1
#: The previous hash of a chain's first record.
GENESIS: Final = "0" * 64
#: Key paths of a change that are named one by one; beyond, the last one says how many more there are.
MAX_KEYS: Final = 200


class Outcome(enum.StrEnum):
    ALLOWED = "allowed"
    DENIED = "denied"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Something that happened. `target` is a topic; `keys` are key paths, never values; `count` how often it did.

    `address` is the peer of the socket. `version` is the commit it concerns. `detail` is for a reader.
    """

    action: str
    outcome: Outcome
    request_id: str | None = None
    subject: str | None = None
    issuer: str | None = None
    target: str | None = None
    version: str | None = None
    keys: tuple[str, ...] = ()
    address: str | None = None
    detail: str | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class Link:
    """Where a chain ends: the sequence number and hash of its last record."""

    seq: int = 0
    hash: str = GENESIS


#: Before the first record.
BEGINNING: Final = Link()


def chained(event: AuditEvent, *, time: float, chain: str, after: Link) -> tuple[bytes, Link]:
    """The line (with its newline) that records `event` at `time` (Unix seconds) after `after`, and the new end."""
    record: dict[str, Json] = {
        "schema": SCHEMA,
        "time": datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "chain": chain,
        "seq": after.seq + 1,
        "request_id": _name(event.request_id),
        "issuer": _name(event.issuer),
        "subject": _name(event.subject),
        "action": _name(event.action),
        "target": _name(event.target, 600),  # a topic: service, up to 16 envs, label
        "outcome": event.outcome.value,
        "version": _name(event.version),
        "keys": _keys(event.keys),
        "address": _name(event.address),
        "detail": _name(event.detail, 6000),
        "count": event.count,
        "previous": after.hash,
    }
    record["hash"] = digest(record)
    return encoded(record), Link(after.seq + 1, str(record["hash"]))


def digest(record: Mapping[str, Json]) -> str:
    """SHA-256 (hex) over the RFC 8785 form of the record without its `hash`.

    Raises rfc8785.CanonicalizationError for what no record of ours holds (lone surrogates, integers beyond 2**53).
    """
    content = {key: value for key, value in record.items() if key != "hash"}
    return hashlib.sha256(rfc8785.dumps(content)).hexdigest()


def encoded(record: Mapping[str, Json]) -> bytes:
    """The one spelling of a record in a file; ASCII, so that no character in it can forge or reorder a line."""
    return json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def _name(text: str | None, limit: int = 300) -> str | None:
    """A name from outside, safe to keep: no secret, no invisible character, bounded."""
    return None if text is None else printable(redact_text(text), limit)


def _keys(keys: tuple[str, ...]) -> list[Json]:
    named: list[Json] = [printable(key) for key in keys[:MAX_KEYS]]
    return [*named, f"… {len(keys) - MAX_KEYS} more"] if len(keys) > MAX_KEYS else named
