"""Durations that are promised, measured so that a moment of a busy machine is not held against the server."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.cluster.clients import Held


def best(measured: Callable[[], float], bound: float, *, tries: int = 3) -> float:
    """The least of a few measurements in seconds. The first one under `bound` ends them."""
    least = measured()
    while least >= bound and (tries := tries - 1):
        least = min(least, measured())
    return least


def last(held: Sequence[Held], since: float) -> float:
    """How long after that moment the last of the clients was told, in seconds."""
    return max(each.at for each in held) - since
