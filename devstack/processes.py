"""Child processes of the development stack: free ports, waiting with a deadline, and ending what was started."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

_PAUSE = 0.02  # seconds between two looks
#: Below those that the kernel gives to whoever names none, so that a port is still free when its server begins, and
#: when it comes back. Drawn without anybody's seed: several processes choose at once.
_PORTS = range(20_000, 32_000)
_dice = random.SystemRandom()


class NotReady(RuntimeError):
    """A part did not start in time; the text ends with the last of what it said."""


def free_port(preferred: int = 0) -> int:
    """A loopback port that is free now: `preferred` if it can be had, else any."""
    chosen = [preferred] if preferred else []
    for port in (*chosen, *_dice.sample(_PORTS, 100), 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise NotReady("no port is free on 127.0.0.1")


def launch(command: Sequence[str], log: Path, *, cwd: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a process whose output is appended to `log`; a file `pid` beside it tells who it is (see `end_left_in`).

    It leads a session of its own, so that Ctrl-C in the terminal reaches only us, who then end things in order.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    with contextlib.suppress(psutil.NoSuchProcess):  # it has ended already: whoever waits for it will tell
        log.with_name("pid").write_text(f"{process.pid} {psutil.Process(process.pid).create_time()}")
    return process


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


def end_left_in(directory: Path) -> int:
    """Kill what a demo in this directory left when it was itself killed; how many processes there were.

    Who stands in a `pid` file is ours only if it began when the file says: numbers are given again.
    """
    left: list[psutil.Process] = []
    for record in directory.glob("*/pid"):
        number, _, began = record.read_text().partition(" ")
        with contextlib.suppress(psutil.NoSuchProcess, ValueError):
            process = psutil.Process(int(number))
            if process.create_time() == float(began):
                left += [process, *process.children(recursive=True)]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):  # its parent took it along
            process.kill()
    psutil.wait_procs(left, timeout=10)
    return len(left)


def end_children() -> int:
    """Kill every process that this one has started and that still runs; how many there were.

    For the end: an interrupt may come between the start of a process and the line that remembers it.
    """
    left = psutil.Process().children(recursive=True)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=10)
    return len(left)


def tail(log: Path, size: int = 3000) -> str:
    """The last of a log file."""
    return log.read_text(errors="replace")[-size:] if log.exists() else ""


def plain_environment(*, without: Sequence[str] = ()) -> dict[str, str]:
    """Our environment but for variables that begin with one of `without`."""
    return {name: value for name, value in os.environ.items() if not name.startswith(tuple(without))}
