"""What our own work costs, in seconds of CPU that do not depend on who else works on the machine.

Two processors that share a core slow each other down by half, and what a host takes from its guests counts as their own
time. So a fixed piece of work is measured beside, and tells how much slower the machine is than while it is left alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: CPU seconds of `_yardstick` on the machine for which bounds are given, when it has nothing else to do.
_ALONE = 0.013
_TRIES = 3


def cost(work: Callable[[], object], *, bound: float) -> float:
    """CPU seconds of this thread for `work`, by the machine for which bounds are given.

    The best of a few tries, of which the first below `bound` is enough; one that is far above it is the last.
    """
    best = float("inf")
    for _ in range(_TRIES):
        taken = _taken(work)
        if taken >= bound:
            taken /= max(1.0, _taken(_yardstick) / _ALONE)
        best = min(best, taken)
        if best < bound or taken > 10 * bound:
            break
    return best


def _taken(work: Callable[[], object]) -> float:
    started = time.thread_time()
    work()
    return time.thread_time() - started


def _yardstick() -> None:
    """Some of what a parser does: small texts, numbers and a map."""
    table = {}
    for number in range(100_000):
        table[number & 1023] = str(number)
