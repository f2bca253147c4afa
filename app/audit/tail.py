"""Reading one chain while it grows, over its files: each record once, in order, from any number on."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import IO, Final

from app.audit.files import ChainFiles, chains_in

_SEQ: Final = re.compile(rb'"seq":(\d+),')


def number_of(line: bytes) -> int:
    """The number of a record as it stands in a file; 0 for what is none."""
    found = _SEQ.search(line)
    return int(found[1]) if found else 0


class Tail:
    """Remembers where it was, so that looking for news costs one read. For one thread; `close` lets go of the file."""

    def __init__(self, directory: Path, chain: str) -> None:
        self._directory = directory
        self._chain = chain
        self._file: IO[bytes] | None = None
        self._next = 0

    def after(self, number: int, last: int, *, limit: int) -> list[bytes]:
        """At most `limit` records (lines) with greater numbers, none beyond `last`. Raises OSError.

        What was moved elsewhere is left out.
        """
        if self._file is None or self._next != number + 1:
            self._open(number + 1)
        lines: list[bytes] = []
        while self._file is not None and len(lines) < limit and self._next <= last:
            at = self._file.tell()
            line = self._file.readline()
            if not line.endswith(b"\n"):
                self._file.seek(at)
                if not self._moved_on():
                    break
            elif (found := number_of(line)) >= self._next:
                if found > last:
                    self._file.seek(at)
                    break
                lines.append(line)
                self._next = found + 1
        return lines

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _moved_on(self) -> bool:
        """Whether the chain has gone on in another file, which is then the one that is read."""
        path = self._path_of(self._next)
        if path is None or self._file is None or os.path.samestat(os.fstat(self._file.fileno()), path.stat()):
            return False
        self._open(self._next)
        return True

    def _open(self, number: int) -> None:
        self.close()
        path = self._path_of(number)
        self._file = path.open("rb") if path is not None else None
        self._next = number

    def _path_of(self, number: int) -> Path | None:
        return chains_in(self._directory).get(self._chain, ChainFiles()).from_number(number)
