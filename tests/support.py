"""What every test may use: waiting for a condition with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
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
