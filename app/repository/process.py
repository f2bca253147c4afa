"""Runs one Git process to its end or to its timeout, and ends it with everything it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.repository.environment import MARKER

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Completed:
    """How a process ended. `errors` may name URLs and paths: never show it, look at it only."""

    status: int
    output: bytes
    errors: str


class TimedOut(Exception):
    """The process did not end within its seconds, and was killed with its whole group."""


def run(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout: float,
    stdin: bytes | None = None,
    started: Callable[[int], None] | None = None,
) -> Completed:
    """Run `git` with `arguments` in a process group of its own.

    Not by GitPython, whose kill_after_timeout needs `pgrep` or `ps` and kills by a list that may be out of date: a
    group is killed in one call. `timeout` is in seconds; `started` is told the group's id. Raises TimedOut, and OSError
    when there is no git. Safe from several threads or greenlets at once.
    """
    process = subprocess.Popen(  # noqa: S603 - no shell; ids and fixed words only, see the folder's law
        ["git", *arguments],  # noqa: S607 - Git is where the operator's PATH says, as for GitPython
        cwd="/",  # the mirror is named by GIT_DIR; where the server was started may be gone
        env=dict(environment),
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        if started:
            started(process.pid)
        output, errors = process.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired as exc:
        _end(process)
        raise TimedOut from exc
    except BaseException:  # a greenlet may be killed at any wait; the process must not outlive it
        _end(process)
        raise
    return Completed(process.returncode, output, errors.decode("utf-8", "replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    # The group's leader is not reaped yet, so its id cannot have passed to a stranger.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
        process.communicate(timeout=5)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()


def end_group(group: int, directory: Path, *, timeout: float = 2.0) -> int:
    """Kill what is left of process group `group`, if it is Git working for the mirror in `directory`.

    Each process must carry our marker, as ids are reused. Waits until all are gone or `timeout` seconds have passed.
    Returns how many were found. Does nothing where there is no /proc.
    """
    found = members = _members(group, directory)
    deadline = time.monotonic() + timeout
    while members and time.monotonic() < deadline:
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
        members = _members(group, directory)
    return len(found)


def _members(group: int, directory: Path) -> list[int]:
    marker = f"{MARKER}={directory}".encode()
    pids = [int(entry.name) for entry in _PROC.glob("[0-9]*")]
    return [pid for pid in pids if _group_of(pid) == group and marker in _environment_of(pid)]


def _group_of(pid: int) -> int | None:
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:  # it has ended
        return None
    state, _parent, group = stat.rpartition(")")[2].split()[:3]
    return None if state == "Z" else int(group)


def _environment_of(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or is another user's
        return []
