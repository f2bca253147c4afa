"""Proving a chain: every way to tamper with it is found, at the line where it happened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.audit import verify_chain
from app.audit.event import GENESIS, Link, chained, digest, encoded
from tests.audit.support import event

Lines = list[bytes]


def chain(count: int = 10, name: str = "worker-0") -> Lines:
    link, lines = Link(), []
    for number in range(count):
        line, link = chained(event(subject=f"s-{number}"), time=1.7e9 + number, chain=name, after=link)
        lines.append(line)
    return lines


def rehashed(line: bytes, **changes: object) -> bytes:
    """The line with `changes` and a hash that fits them: what a forger who knows the format would write."""
    record = {**json.loads(line), **changes}
    return encoded({**record, "hash": digest(record)})


def swapped(lines: Lines) -> Lines:
    return [*lines[:4], lines[5], lines[4], *lines[6:]]


TAMPERINGS: list[tuple[str, Callable[[Lines], Lines], int, str]] = [
    ("an edited value", lambda c: [*c[:4], c[4].replace(b"s-4", b"s-X"), *c[5:]], 5, "edited"),
    ("an edited value with a new hash", lambda c: [*c[:4], rehashed(c[4], subject="eve"), *c[5:]], 6, "replaced"),
    ("other spelling of the same", lambda c: [*c[:4], c[4].replace(b'":', b'": ', 1), *c[5:]], 5, "edited"),
    ("a key twice", lambda c: [*c[:4], b'{"subject":"eve",' + c[4][1:], *c[5:]], 5, "edited"),
    ("an added field", lambda c: [*c[:4], c[4].replace(b'{"', b'{"x":1,"', 1), *c[5:]], 5, "edited"),
    ("a dropped line", lambda c: [*c[:4], *c[5:]], 5, "1 lines before it were dropped"),
    ("three dropped lines", lambda c: [*c[:4], *c[7:]], 5, "3 lines before it were dropped"),
    ("a dropped beginning", lambda c: c[2:], 1, "2 lines before it were dropped"),
    ("two lines swapped", swapped, 5, "1 lines before it were dropped or moved"),
    ("a line twice", lambda c: [*c[:5], c[4], *c[5:]], 6, "copy"),
    ("a line of another chain", lambda c: [*c[:5], chain(6, "worker-1")[5], *c[6:]], 6, "another chain"),
    ("a line that is no JSON", lambda c: [*c[:5], b"garbage\n", *c[5:]], 6, "whole record"),
    ("a line that is no record", lambda c: [*c[:5], b"[1]\n", *c[5:]], 6, "whole record"),
    ("half a line at the end", lambda c: [*c[:9], c[9][:40]], 10, "whole record"),
    ("a missing newline", lambda c: [*c[:9], c[9][:-1]], 10, "whole record"),
    ("a lone surrogate", lambda c: [*c[:9], c[9].replace(b"s-9", b"\\ud800")], 10, "edited"),
    ("hostile nesting", lambda c: [*c[:9], b"[" * 100_000 + b"\n"], 10, "whole record"),
]


@pytest.mark.parametrize(("what", "tamper", "line", "reason"), TAMPERINGS, ids=[case[0] for case in TAMPERINGS])
def test_tampering_is_found_where_it_happened(
    what: str, tamper: Callable[[Lines], Lines], line: int, reason: str
) -> None:
    verdict = verify_chain(tamper(chain()))
    assert not verdict.intact
    assert verdict.line == line
    assert verdict.records == line - 1
    assert reason in (verdict.reason or "")


def test_an_untouched_chain_is_proven_to_its_last_hash() -> None:
    lines = chain()
    verdict = verify_chain(lines)
    assert verdict.intact
    assert (verdict.records, verdict.last) == (10, json.loads(lines[-1])["hash"])


def test_an_empty_chain_is_intact() -> None:
    verdict = verify_chain([])
    assert (verdict.intact, verdict.records, verdict.last) == (True, 0, GENESIS)


def test_a_cut_end_shows_in_the_last_hash_only() -> None:
    lines = chain()
    assert verify_chain(lines[:-1]).intact
    assert verify_chain(lines[:-1]).last != verify_chain(lines).last


def test_the_hash_is_that_of_rfc_8785_without_the_hash_itself(tmp_path: Path) -> None:
    import hashlib

    record = json.loads(chain(1)[0])
    expected = record.pop("hash")
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)  # ASCII keys, small ints
    assert hashlib.sha256(canonical.encode()).hexdigest() == expected
