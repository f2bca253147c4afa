"""Long computing in a worker that has one thread for all its requests: beside them, or in slices between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from gevent import get_hub
from gevent.monkey import is_module_patched

#: A slice of work before the worker looks after its requests again, in seconds.
SLICE = 0.02
#: Not 0: gevent would hand over to who can run, and look for what has come on the sockets after fifty slices only.
PAUSE = 0.0001

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_slices(items: Iterable[Item]) -> Iterator[Item]:
    """One after another, with a pause after each slice of work that lets requests of this worker in between."""
    pause_at = time.perf_counter() + SLICE
    for item in items:
        yield item
        if time.perf_counter() > pause_at:
            time.sleep(PAUSE)
            pause_at = time.perf_counter() + SLICE


def aside(work: Callable[[], Result]) -> Result:
    """What `work` returns or raises, found on a thread of the system's own where gevent runs.

    It must be pure: a lock or a socket would belong to another thread's gevent.
    """
    if not is_module_patched("threading"):
        return work()
    result, failure = get_hub().threadpool.apply(_tried, (work,))
    if failure is not None:
        raise failure
    return result  # type: ignore[no-any-return]


def _tried(work: Callable[[], Result]) -> tuple[Result | None, Exception | None]:
    """gevent would log what is raised there."""
    try:
        return work(), None
    except Exception as failure:  # noqa: BLE001 - raised again where it was asked for
        return None, failure
