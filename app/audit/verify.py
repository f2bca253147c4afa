"""Proving a chain: which line was edited, dropped or moved, if any."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import rfc8785

from app.audit.claim import SUFFIX
from app.audit.event import Link, digest, encoded
from app.model import Json


@dataclass(frozen=True, slots=True)
class Verdict:
    """`records` is how many lines are proven. With a fault, `line` (from 1) is the first that does not fit, and why.

    A chain proves nothing about lines cut off its end: compare `last` (hash of the last proven record) with a copy
    kept elsewhere.
    """

    records: int
    last: str
    line: int | None = None
    reason: str | None = None

    @property
    def intact(self) -> bool:
        return self.line is None


def verify_chain(lines: Iterable[bytes]) -> Verdict:
    """Follow a chain from its first line to the first fault; `lines` are those of the file, newlines included."""
    link, chain = Link(), None
    number = 0
    for number, line in enumerate(lines, start=1):
        record = _parsed(line)
        reason = "it is not a whole record" if record is None else _fault(record, line, link, chain)
        if record is None or reason is not None:
            return Verdict(number - 1, link.hash, number, reason)
        link, chain = Link(link.seq + 1, str(record["hash"])), record["chain"]
    return Verdict(number, link.hash)


def verify_directory(directory: Path) -> dict[str, Verdict]:
    """The verdict on every chain in `directory`, by file name. Raises OSError."""
    verdicts = {}
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        with path.open("rb") as file:
            verdicts[path.name] = verify_chain(file)
    return verdicts


def _parsed(line: bytes) -> dict[str, Json] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and line.endswith(b"\n") else None


def _fault(record: dict[str, Json], line: bytes, after: Link, chain: Json) -> str | None:
    """Why `record` cannot follow `after`, or None."""
    try:
        authentic = record.get("hash") == digest(record) and encoded(record) == line
    except (rfc8785.CanonicalizationError, ValueError):
        authentic = False
    if not authentic:
        return "it was edited: its hash does not cover its content"
    if chain is not None and record.get("chain") != chain:
        return "it belongs to another chain"
    return _misplaced(record.get("seq"), after) or (
        None if record.get("previous") == after.hash else "the line before it was replaced"
    )


def _misplaced(seq: Json, after: Link) -> str | None:
    if not isinstance(seq, int) or isinstance(seq, bool):
        return "it has no number"
    if seq > after.seq + 1:
        return f"{seq - after.seq - 1} lines before it were dropped or moved"
    return "it was moved here, or is a copy" if seq <= after.seq else None
