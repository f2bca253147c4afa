"""What every test may use: waiting for a condition with a deadline, and reading what a server is still writing."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def eventually(probe: Callable[[], T], *, timeout: float = 15.0, every: float = 0.02) -> T:
    """Call `probe` until it returns something true, and return that. Fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (result := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {timeout} s; last seen: {result!r}")
        time.sleep(every)  # the pause between two looks, not a wait for luck
    return result


def whole_lines(file: Path) -> list[str]:
    """But for one that is being written."""
    return file.read_text().split("\n")[:-1]


def contents(directory: Path) -> dict[str, bytes]:
    """Of every file in it, by path, but for those that are gone meanwhile."""
    found: dict[str, bytes] = {}
    for folder, _, names in os.walk(directory):  # which passes over a folder that is gone
        for path in (Path(folder, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                found[str(path)] = path.read_bytes()
    return found
