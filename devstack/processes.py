"""Child processes of the development stack: free ports, waiting with a deadline, and ending what was started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

#: Set in the environment of what a demo starts: the demo's directory. So the next one knows what a killed one left.
MARK = "DEVSTACK_RUN"
_PAUSE = 0.02  # seconds between two looks


class NotReady(RuntimeError):
    """A part did not start in time; the text ends with the last of what it said."""


def free_port(preferred: int = 0) -> int:
    """A loopback port that is free now: `preferred` if it can be had, else any."""
    for port in dict.fromkeys((preferred, 0)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise NotReady("no port is free on 127.0.0.1")


def launch(command: Sequence[str], log: Path, *, cwd: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a process whose output is appended to `log`.

    It leads a session of its own, so that Ctrl-C in the terminal reaches only us, who then end things in order.
    """
    mark = {MARK: os.environ[MARK]} if MARK in os.environ else {}
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**env, **mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_ready(
    name: str, ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, *, timeout: float
) -> None:
    """Look until `ready` is true. Raises NotReady when the process ends or `timeout` seconds pass first."""
    deadline = time.monotonic() + timeout
    while not ready():
        if process.poll() is not None:
            raise NotReady(f"{name} ended with {process.returncode} at its start:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise NotReady(f"{name} was not ready within {timeout:g} s:\n{tail(log)}")
        time.sleep(_PAUSE)


def end(process: subprocess.Popen[bytes], *, timeout: float, by: signal.Signals = signal.SIGTERM) -> int:
    """Ask the process to end, kill it after `timeout` seconds; its exit code. One that has ended is left alone."""
    if process.poll() is None:
        process.send_signal(by)
        process.send_signal(signal.SIGCONT)  # one that is paused could not hear it
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def end_left_by(mark: str) -> int:
    """Kill what a demo of this mark left when it was itself killed; how many there were."""
    left = [process for process in psutil.process_iter() if _mark_of(process) == mark]
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue  # its parent took it along
    psutil.wait_procs(left, timeout=10)
    return len(left)


def _mark_of(process: psutil.Process) -> str | None:
    try:
        mark = process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None  # another user's, or gone
    return str(mark) if mark is not None else None


def tail(log: Path, size: int = 3000) -> str:
    """The last of a log file."""
    return log.read_text(errors="replace")[-size:] if log.exists() else ""


def plain_environment(*, without: Sequence[str] = ()) -> dict[str, str]:
    """Our environment but for variables that begin with one of `without`."""
    return {name: value for name, value in os.environ.items() if not name.startswith(tuple(without))}
