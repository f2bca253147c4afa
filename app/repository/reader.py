"""Reads objects by id through long-lived `git cat-file` processes, one pair per process of ours."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar, cast

from git.cmd import Git
from git.exc import GitCommandNotFound

from app.repository.errors import BlobTooLarge, ObjectLost

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Header:
    """What Git says about an object before its content. `size` is in bytes."""

    id: str
    kind: str
    size: int


class _Ended(Exception):
    """The process has ended, or its answer was cut short."""


class _CatFile:
    """One `git cat-file` that answers line by line (git-cat-file(1), BATCH OUTPUT)."""

    def __init__(self, git: Git, mode: str) -> None:
        command = ["git", "cat-file", mode]
        # In a session of its own: Ctrl-C at the server's terminal is for the server.
        started = git.execute(command, as_process=True, istream=subprocess.PIPE, start_new_session=True)
        self._process = cast("subprocess.Popen[bytes]", started.proc)
        started.proc = None  # GitPython's wrapper would wait in its destructor, where gevent cannot switch
        self._stdin = cast(IO[bytes], self._process.stdin)
        self._stdout = cast(IO[bytes], self._process.stdout)
        self._stderr = cast(IO[bytes], self._process.stderr).fileno()
        os.set_blocking(self._stderr, False)

    def ask(self, name: str) -> Header | None:
        self._stdin.write(f"{name}\n".encode())
        self._stdin.flush()
        line = self._stdout.readline()
        if not line.endswith(b"\n"):
            raise _Ended
        fields = line.decode().split()
        if len(fields) == 3:
            return Header(fields[0], fields[1], int(fields[2]))
        self._forget_complaints()
        return None

    def content(self, size: int) -> bytes:
        content = self._stdout.read(size)
        if len(content) != size or self._stdout.read(1) != b"\n":
            raise _Ended
        return content

    def close(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):  # a question that was never sent
                cast(IO[bytes], pipe).close()
        self._process.wait()

    def _forget_complaints(self) -> None:
        """Empty the pipe of error messages, which nobody reads: once full, it would stop the process for good."""
        try:
            while os.read(self._stderr, 65_536):
                pass
        except BlockingIOError:
            pass


class ObjectReader:
    """Objects by id, about 0.1 ms each; starts processes at first use, after a swap of the clone, and after a failure.

    `locate` names the clone to read and `environment` makes the environment for it. Any number of threads or greenlets
    may share one reader; they take turns. After a fork the child starts processes of its own.
    """

    def __init__(self, locate: Callable[[], Path], environment: Callable[[Path], Mapping[str, str]]) -> None:
        self._locate = locate
        self._environment = environment
        # Guards all below, the pipes above all: a question and the whole of its answer belong together.
        self._lock = threading.Lock()
        self._processes: dict[str, _CatFile] = {}
        self._clone: Path | None = None
        self._owner = os.getpid()
        self._parents: dict[str, _CatFile] = {}  # kept out of use: not ours to end

    def header(self, name: str) -> Header | None:
        """What the clone holds under `name`: an id, or an id and a suffix of ours. None when it holds nothing.

        Raises RepositoryUnavailable when there is no clone, and ObjectLost when Git cannot read it.
        """
        return self._asked(name, lambda: self._process("--batch-check").ask(name))

    def content(self, object_id: str, kind: str, *, limit: int) -> bytes:
        """The content of an object. Its size is looked at first, and BlobTooLarge raised if it is over `limit` bytes.

        Raises ObjectLost when the clone holds no such object of this kind.
        """
        header = self.header(object_id) or self._looked_up_afresh(object_id)
        if header is None or header.kind != kind:
            raise ObjectLost(object_id)
        if header.size > limit:
            raise BlobTooLarge(header.size, limit)
        return self._asked(object_id, lambda: self._whole(object_id))

    def close(self) -> None:
        """End the processes. The reader may be used again, and then starts new ones."""
        with self._lock:
            self._drop()

    def _whole(self, object_id: str) -> bytes:
        process = self._process("--batch")
        header = process.ask(object_id)
        if header is None:
            raise _Ended
        return process.content(header.size)

    def _looked_up_afresh(self, object_id: str) -> Header | None:
        """Ask new processes: the old ones may know packs only that another process has replaced."""
        self.close()
        return self.header(object_id)

    def _asked(self, name: str, question: Callable[[], T]) -> T:
        with self._lock:
            try:
                return self._or_dropped(question)
            except (_Ended, OSError, GitCommandNotFound):
                pass  # killed from outside, most likely: once more, with a new process
            try:
                return self._or_dropped(question)
            except (_Ended, OSError, GitCommandNotFound) as exc:
                raise ObjectLost(name) from exc

    def _or_dropped(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except BaseException:  # half an answer may be left in the pipe (a greenlet may be killed at any read)
            self._drop()
            raise

    def _process(self, mode: str) -> _CatFile:
        clone = self._locate()
        if self._owner != os.getpid():
            self._parents, self._processes, self._owner = self._processes, {}, os.getpid()
        if self._clone != clone:
            self._drop()
            self._clone = clone
        if mode not in self._processes:
            git = Git()
            git.update_environment(**self._environment(clone))
            self._processes[mode] = _CatFile(git, mode)
        return self._processes[mode]

    def _drop(self) -> None:
        processes = list(self._processes.values())
        self._processes.clear()
        for process in processes:
            process.close()
