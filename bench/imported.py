"""Big repositories, made and changed by git fast-import: a working copy would take an hour."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from devstack.origin import git

_BEGAN = 1_700_000_000


class Imported:
    """A bare repository in `directory`, without a commit at first."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        git(directory, "init", "--quiet", "--bare", "--initial-branch=main", ".")
        self.path = directory
        self._commits = 0

    @property
    def url(self) -> str:
        return str(self.path)

    def commit(self, files: Mapping[str, str]) -> None:
        """One more commit on main."""
        parent = ["from refs/heads/main^0\n"] if self._commits else []  # a new process does not know it
        self.add([*head_of(self._commits), *parent, *(file_of(path, text) for path, text in files.items())])

    def add(self, pieces: Iterable[str]) -> None:
        """What `head_of` and `file_of` have made, in order. Raises RuntimeError."""
        command = ["git", "-C", str(self.path), "fast-import", "--quiet", "--force"]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:  # noqa: S603 - ours
            if process.stdin is None:
                raise RuntimeError("a process without a pipe")
            for piece in pieces:
                self._commits += piece.startswith("commit ")
                process.stdin.write(piece.encode())
            process.stdin.close()
            if process.wait() != 0:
                raise RuntimeError("git fast-import has failed")


def head_of(number: int) -> Iterator[str]:
    """How a commit begins, by its number on main from 0."""
    who = f"Ada <ada@example.org> {_BEGAN + 60 * number} +0000"
    yield f"commit refs/heads/main\nauthor {who}\ncommitter {who}\ndata {len(str(number))}\n{number}\n"


def file_of(path: str, text: str) -> str:
    return f"M 100644 inline {path}\ndata {len(text)}\n{text}\n"
