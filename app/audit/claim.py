"""Finding the file of a chain, taking it for this process, and seeing where it ends."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import rfc8785

from app.audit.event import Link, digest
from app.audit.files import SUFFIX, damaged_path

_MAX_CHAINS: Final = 100
_BLOCK: Final = 65_536


@dataclass(frozen=True, slots=True)
class Claim:
    """An open, locked chain file: `size` is its length in whole lines, `torn` what follows the last newline, `link`
    the end of the chain, in this file or in the one before.

    `damaged` is the name of a file of this chain whose last line was not ours; the chain then begins anew.
    """

    descriptor: int
    path: Path
    chain: str
    size: int
    link: Link
    torn: bytes
    damaged: str | None = None


def claim(directory: Path, chain: str, time: float) -> Claim:
    """Open or create `<chain>.jsonl`, or `<chain>.2.jsonl` … while other processes hold the former. Raises OSError.

    The directory is made with mode 0700, the file with 0600. `time` (Unix seconds) names a damaged file.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in range(1, _MAX_CHAINS):
        name = chain if number == 1 else f"{chain}.{number}"
        path = directory / f"{name}{SUFFIX}"
        descriptor = _locked(path)
        if descriptor is not None:
            return _seen(descriptor, path, name, time)
    raise OSError(f"the audit chain {chain} is in use {_MAX_CHAINS} times")


def _locked(path: Path) -> int | None:
    """A descriptor of `path` with its lock, or None while another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass  # held by another, or put aside by it between our open and our lock
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _seen(descriptor: int, path: Path, chain: str, time: float) -> Claim:
    try:
        former = _former(path)
        size, line, torn = _tail(descriptor)
        link = link_of(line) if line else _end_of(former)
        if link is not None:
            return Claim(descriptor, path, chain, size, link, torn)
        if not line and former is not None:
            return Claim(descriptor, path, chain, size, Link(), torn, former.name)
        # Evidence: it stays as it is for `verify` to point at, and the chain goes on from the file before it.
        aside = damaged_path(path, int(time))
        path.rename(aside)
        fresh = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(fresh, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return Claim(fresh, path, chain, 0, _end_of(former) or Link(), b"", aside.name)


def _former(path: Path) -> Path | None:
    """The file of the chain that was closed last. What a crash left half closed is opened again."""
    closed = sorted(path.parent.glob(f"{path.name.removesuffix(SUFFIX)}.to-*{SUFFIX}"))
    for each in closed:
        if each.samefile(path):
            each.unlink()
    return next((each for each in reversed(closed) if each.exists()), None)


def _end_of(former: Path | None) -> Link | None:
    """Where a closed file ends; None when that is no record of ours."""
    if former is None:
        return Link()
    descriptor = os.open(former, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return link_of(_tail(descriptor)[1])
    finally:
        os.close(descriptor)


def link_of(line: bytes) -> Link | None:
    """The end of a chain whose last line is `line`; None when that is no whole, unedited record."""
    try:
        record = json.loads(line)
        if digest(record) == record["hash"]:
            return Link(int(record["seq"]), str(record["hash"]))
    except (ValueError, KeyError, TypeError, AttributeError, rfc8785.CanonicalizationError):
        return None
    return None


def _tail(descriptor: int) -> tuple[int, bytes, bytes]:
    """(length in whole lines, last whole line, what follows it), reading from the end."""
    size = os.fstat(descriptor).st_size
    start, data = size, b""
    while start > 0 and data.count(b"\n") < 2:
        step = min(_BLOCK, start)
        start -= step
        data = os.pread(descriptor, step, start) + data
    whole, newline, torn = data.rpartition(b"\n")
    return size - len(torn), (whole.rpartition(b"\n")[2] if newline else b""), torn
