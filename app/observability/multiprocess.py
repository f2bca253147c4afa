"""The files in which several workers keep one set of metrics: reading them all, and folding those of the dead.

prometheus_client gives every process its own files in PROMETHEUS_MULTIPROC_DIR and never removes those of counters and
histograms. After a hundred restarts a scrape reads a hundred files and stops the worker for half a second; so the
arbiter folds what a dead worker left into one set of files. A lock file keeps a scrape from seeing a half-done fold.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, multiprocess, values
from prometheus_client.mmap_dict import MmapedDict

from app.observability.logs import current_pid

#: Stands where a process id stands in the name of a file; no process has this one.
FOLDED: Final = "0"
_LOCK: Final = "lock"


class _ValueFile(Protocol):
    def write_value(self, key: str, value: float, timestamp: float) -> None: ...
    def close(self) -> None: ...


# prometheus_client annotates these in part only; here is what we rely on.
_collect: Callable[[CollectorRegistry, str], object] = multiprocess.MultiProcessCollector
_forget_live_gauges: Callable[[int, str], None] = multiprocess.mark_process_dead
_values_of: Callable[[Callable[[], int]], type] = values.MultiProcessValue
_open: Callable[[str], _ValueFile] = MmapedDict
_read: Callable[[str], Iterable[tuple[str, float, float, int]]] = MmapedDict.read_all_values_from_file


def know_own_process() -> None:
    """Let metrics made from now on know by heart which process they are in: they would ask the system at each count."""
    values.ValueClass = _values_of(current_pid)


@contextmanager
def collecting(directory: Path) -> Iterator[CollectorRegistry]:
    """A registry that adds up the files of all processes, valid inside the block. Waits for a fold (milliseconds)."""
    with _locked(directory, fcntl.LOCK_SH):
        registry = CollectorRegistry()
        _collect(registry, str(directory))
        yield registry


def fold_dead(directory: Path, pid: int) -> None:
    """Move what process `pid` counted into the folded files and remove its own; totals stay as they were.

    Live gauges of the dead end with it. Called by the arbiter, once the process has been reaped. Files that cannot
    be read (a process killed while creating one) are removed.
    """
    with _locked(directory, fcntl.LOCK_EX):
        _forget_live_gauges(pid, str(directory))
        for path in sorted(directory.glob(f"*_{pid}.db")):
            kind = path.name.removesuffix(f"_{pid}.db")
            _fold(path, directory / f"{kind}_{FOLDED}.db", kind)
            path.unlink()


def _fold(dead: Path, folded: Path, kind: str) -> None:
    """Add the values of `dead` to `folded`: what was there is copied first and replaced at once, or not at all."""
    values = _values(folded) if folded.exists() else {}
    for key, (value, timestamp) in _values(dead).items():
        values[key] = _joined(kind, values.get(key), value, timestamp)
    scratch = folded.with_suffix(".new")
    scratch.unlink(missing_ok=True)
    written = _open(str(scratch))
    for key, (value, timestamp) in values.items():
        written.write_value(key, value, timestamp)
    written.close()
    scratch.replace(folded)


def _joined(kind: str, before: tuple[float, float] | None, value: float, timestamp: float) -> tuple[float, float]:
    """Two values of one series as one: as the collector would join them for a metric of this kind."""
    if before is None:
        return value, timestamp
    return {
        "gauge_max": (max(before[0], value), timestamp),
        "gauge_min": (min(before[0], value), timestamp),
        "gauge_mostrecent": (value, timestamp) if timestamp >= before[1] else before,
        "gauge_all": (value, timestamp),
    }.get(kind, (before[0] + value, 0.0))


def _values(path: Path) -> dict[str, tuple[float, float]]:
    try:
        return {key: (value, at) for key, value, at, _ in _read(str(path))}
    except (RuntimeError, ValueError, struct.error):  # empty, cut off, or no UTF-8
        return {}


@contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    """Hold the directory's lock file; the kernel lets it go when the process dies."""
    descriptor = os.open(directory / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
