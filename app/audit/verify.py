"""Proving a trail: which line of which file was edited, dropped or moved, and which chain is not what others saw."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import rfc8785

from app.audit.anchors import ANCHOR, Anchor
from app.audit.event import BEGINNING, Link, digest, encoded
from app.audit.files import SUFFIX, ChainFiles, chains_in, host_of
from app.audit.tail import number_of
from app.model import Json


@dataclass(frozen=True, slots=True)
class Verdict:
    """`records` is how many lines are proven. With a fault, `reason` says what it is, and `line` (from 1) which is the
    first that does not fit, if it is one line's.

    A chain alone proves nothing about lines cut off its end: compare `last` (hash of the last proven record) with a
    copy kept elsewhere. Other chains that name it do.
    """

    records: int
    last: str
    line: int | None = None
    reason: str | None = None

    @property
    def intact(self) -> bool:
        return self.reason is None


@dataclass(frozen=True, slots=True)
class _Claimed:
    """What `file`, in its `line`, says of a chain: that record `link.seq` has this hash."""

    link: Link
    file: str
    line: int


def verify_chain(lines: Iterable[bytes], after: Link = BEGINNING) -> Verdict:
    """Follow a chain from its first line to the first fault; `lines` are those of a file, newlines included, and
    `after` is where the file before it ends."""
    link, chain = after, None
    number = 0
    for number, line in enumerate(lines, start=1):
        record = _parsed(line)
        reason = "it is not a whole record" if record is None else _fault(record, line, link, chain)
        if record is None or reason is not None:
            return Verdict(number - 1, link.hash, number, reason)
        link, chain = Link(link.seq + 1, str(record["hash"])), record["chain"]
    return Verdict(number, link.hash)


def verify_directory(*directories: Path, archived: bool = False) -> dict[str, Verdict]:
    """The verdict on every file of the trails in `directories`, by its name (of several trails: with its directory).

    `archived`: the oldest files were moved elsewhere; a chain is then proven from the first record that is there. The
    trails of several hosts prove more than each alone, as their chains name each other. Raises OSError.
    """
    verdicts: dict[str, Verdict] = {}
    claims: dict[tuple[Path, str], list[_Claimed]] = {}
    hosts = {host: directory for directory in directories if (host := host_of(directory))}
    for directory in directories:
        prefix = f"{directory}/" if len(directories) > 1 else ""
        for files in chains_in(directory).values():
            verdicts |= {f"{prefix}{path.name}": each for path, each in _segments(files, archived=archived)}
            for path in _paths(files):
                for anchor, line in _anchors(path):
                    host, slash, chain = anchor.chain.rpartition("/")
                    where = hosts.get(host) if slash else directory
                    if where is not None:
                        claimed = _Claimed(anchor.link, path.name, line)
                        claims.setdefault((where, chain), []).append(claimed)
    for (directory, chain), claimed_here in claims.items():
        prefix = f"{directory}/" if len(directories) > 1 else ""
        reason = _contradiction(chains_in(directory).get(chain, ChainFiles()), claimed_here, archived=archived)
        name = f"{prefix}{chain}{SUFFIX}"
        verdict = verdicts.get(name, Verdict(0, ""))
        if reason is not None and verdict.intact:
            verdicts[name] = replace(verdict, reason=reason)
    return verdicts


def _segments(files: ChainFiles, *, archived: bool) -> Iterator[tuple[Path, Verdict]]:
    """File by file in the order of their first records, each after the one whose end it names."""
    ends: dict[int, Link] = {}
    for first, path in sorted((_first(path), path) for path in _paths(files)):
        after = _end_before(first, ends)
        if archived and not ends and first > 1:
            after = _as_it_says(path, first)
        with path.open("rb") as file:
            verdict = verify_chain(file, after)
        last = after.seq + verdict.records
        ends[last] = Link(last, verdict.last)
        yield path, verdict


def _end_before(first: int, ends: Mapping[int, Link]) -> Link:
    """Where the chain stood before record `first`: at the file that ends there, else at the last one before."""
    below = [seq for seq in ends if seq < first]
    return ends[max(below)] if below and first > 1 else BEGINNING


def _as_it_says(path: Path, first: int) -> Link:
    with path.open("rb") as file:
        record = _parsed(file.readline())
    return Link(first - 1, str(record.get("previous"))) if record else BEGINNING


def _first(path: Path) -> int:
    """The number of the file's first record; of an empty file one that follows all others."""
    with path.open("rb") as file:
        line = file.readline()
    return number_of(line) if line else 1 << 62


def _paths(files: ChainFiles) -> list[Path]:
    return [path for _, path in files.closed] + files.damaged + ([files.current] if files.current else [])


def _anchors(path: Path) -> Iterator[tuple[Anchor, int]]:
    """What a file says of the ends of others, and in which line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            record = _parsed(line) if ANCHOR in line else None
            keys = record.get("keys") if record else None
            for key in keys if isinstance(keys, list) else []:
                anchor = Anchor.parse(key)
                if anchor is not None:
                    yield anchor, number


def _contradiction(files: ChainFiles, claims: Sequence[_Claimed], *, archived: bool) -> str | None:
    """How a chain differs from what others have seen of it, or None."""
    wanted = {claim.link.seq for claim in claims}
    found: dict[int, set[str]] = {}
    first, last = 1 << 62, 0
    for path in _paths(files):
        with path.open("rb") as file:
            for line in file:
                seq = number_of(line)
                first, last = min(first, seq), max(last, seq)
                if seq in wanted and (record := _parsed(line)) is not None:
                    found.setdefault(seq, set()).add(str(record.get("hash")))
    for claim in sorted(claims, key=lambda each: each.link.seq):
        seq = claim.link.seq
        if claim.link.hash in found.get(seq, ()) or (archived and seq < first):
            continue
        if seq > last:
            return f"its end was cut off: {claim.file}:{claim.line} has seen record {seq}, and {last} is the last here"
        return f"{claim.file}:{claim.line} has seen another record {seq}"
    return None


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
