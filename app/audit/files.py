"""The files of a trail: how those of a chain are called, in which order they follow, and the host they belong to.

`<chain>.jsonl` is written to; one that was full is `<chain>.to-<last number>.jsonl`; one whose end was not a record is
`<chain>.damaged-<Unix seconds>.jsonl`.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SUFFIX: Final = ".jsonl"
_NAME: Final = re.compile(r"(?P<chain>.+?)(?:\.(?:to-(?P<last>\d{12,})|(?P<damaged>damaged-\d+)))?\.jsonl")
_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(slots=True)
class ChainFiles:
    """`closed` are (number of the last record, path), oldest first; `current` is None when nothing is written to."""

    current: Path | None = None
    closed: list[tuple[int, Path]] = field(default_factory=list)
    damaged: list[Path] = field(default_factory=list)

    def from_number(self, number: int) -> Path | None:
        """The file that holds, or will hold, the record of this number."""
        return next((path for last, path in self.closed if last >= number), self.current)


def chains_in(directory: Path) -> dict[str, ChainFiles]:
    """The files of every chain, by its name; none where there is no directory yet. Raises OSError."""
    found: dict[str, ChainFiles] = {}
    for path in sorted(directory.iterdir()) if directory.exists() else ():
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        files = found.setdefault(match["chain"], ChainFiles())
        if match["last"]:
            files.closed.append((int(match["last"]), path))
        elif match["damaged"]:
            files.damaged.append(path)
        else:
            files.current = path
    for files in found.values():
        _leave_out_the_unfinished(files)
    return found


def closed_path(current: Path, last: int) -> Path:
    """What the file of a chain is called when it is full, its last record being number `last`."""
    return current.with_name(f"{current.name.removesuffix(SUFFIX)}.to-{last:012d}{SUFFIX}")


def damaged_path(current: Path, seconds: int) -> Path:
    return current.with_name(f"{current.name.removesuffix(SUFFIX)}.damaged-{seconds}{SUFFIX}")


def sync_directory(directory: Path) -> None:
    """Put the names in it on the disk. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def host_of(directory: Path) -> str | None:
    """The name of the host whose trail this is; None where none was made."""
    with suppress(OSError, UnicodeDecodeError):
        name = (directory / "host").read_text().strip()
        return name if _HOST.fullmatch(name) else None
    return None


def made_host(directory: Path) -> str:
    """The same, made once: this machine's name and something that tells it from others of that name. Raises OSError."""
    if (known := host_of(directory)) is not None:
        return known
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    machine = re.sub(r"[^A-Za-z0-9.-]", "", socket.gethostname()).lstrip(".-")[:60] or "host"
    draft = directory / f".host.{secrets.token_hex(8)}"
    draft.write_text(f"{machine}-{secrets.token_hex(4)}\n")
    try:
        os.link(draft, directory / "host")
    except FileExistsError:
        pass  # another worker was faster
    finally:
        draft.unlink(missing_ok=True)
    return host_of(directory) or machine


def _leave_out_the_unfinished(files: ChainFiles) -> None:
    """A second name of the file that is written to was left by a crash while a file was closed."""
    if files.current is not None:
        files.closed = [each for each in files.closed if not _same(each[1], files.current)]
    files.closed.sort()


def _same(path: Path, other: Path) -> bool:
    with suppress(FileNotFoundError):
        return path.samefile(other)
    return False
