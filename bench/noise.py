"""Whether the machine was quiet enough while something was measured: a loop of fixed work, and who else was at work."""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.measure import Row

#: The share of the machine that others may use.
OTHERS = 0.10
#: How much slower the fixed work may be afterwards, or its slow pieces than its best one.
DRIFT, SCATTER = 1.25, 1.6
#: Of the floor, the slowest round to the best.
ROUNDS = 2.0
_PIECES = 21
_TICKS = os.sysconf("SC_CLK_TCK")
_IDLE, _WAITING = 3, 4  # places in /proc/stat (proc(5))


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds that a piece of fixed work took: the best, the median, and the one that nine of ten were faster than."""

    best: float
    middle: float
    slow: float


@dataclass(frozen=True, slots=True)
class Moment:
    """Seconds: of a clock, of all processors at work (stolen ones too), of this process and those it has ended."""

    clock: float
    busy: float
    ours: float


class Watch:
    """Around one measurement, whose processes must have ended at its end. A context manager; then ask it."""

    def __enter__(self) -> Self:
        self._before = pace()
        self._began = moment()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = moment()
        self._after = pace()

    @property
    def seconds(self) -> float:
        return round(self._ended.clock - self._began.clock, 1)

    @property
    def others(self) -> float:
        """The share of the machine, of 1, that other processes have used."""
        return others(self._began, self._ended, os.cpu_count() or 1)

    @property
    def noise(self) -> str:
        return told(self.others, self._before, self._after)

    @property
    def facts(self) -> dict[str, float]:
        slower = self._after.middle / self._before.middle
        return {"seconds": self.seconds, "others": round(self.others, 3), "slower_after": round(slower, 2)}


def told(others: float, before: Pace, after: Pace) -> str:
    """Why nobody can tell; empty when the machine was quiet."""
    if others > OTHERS:
        return f"others used {others:.0%} of the machine"
    slower = max(before.middle, after.middle) / min(before.middle, after.middle)
    if slower > DRIFT:
        return f"fixed work took {slower:.1f}x as long before or after"
    scatter = max(each.slow / each.best for each in (before, after))
    return f"fixed work took up to {scatter:.1f}x its best" if scatter > SCATTER else ""


def judged(rows: Sequence[Row], noise: str) -> list[Row]:
    """Times are not judged when the machine was noisy; memory and counts are."""
    return [replace(row, noise=row.noise or noise) if row.timed else row for row in rows]


def unsteady(rounds: Sequence[float]) -> str:
    """Of a floor's rounds, which do the same each time."""
    apart = max(rounds) / min(rounds)
    return f"the floor's rounds are {apart:.1f}x apart" if apart > ROUNDS else ""


def pace() -> Pace:
    pieces = sorted(_piece() for _ in range(_PIECES))
    return Pace(pieces[0], statistics.median(pieces), pieces[_PIECES * 9 // 10])


def moment() -> Moment:
    ours = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Moment(time.monotonic(), busy(_processors()), sum(each.ru_utime + each.ru_stime for each in ours))


def busy(line: str) -> float:
    """Seconds of all processors, from the first line of /proc/stat; those of guests are in the first two already."""
    ticks = [int(field) for field in line.split()[1:9]]
    return (sum(ticks) - ticks[_IDLE] - ticks[_WAITING]) / _TICKS


def others(began: Moment, ended: Moment, processors: int) -> float:
    passed = (ended.clock - began.clock) * processors
    return max((ended.busy - began.busy) - (ended.ours - began.ours), 0.0) / passed


def _processors() -> str:
    return Path("/proc/stat").read_text().partition("\n")[0]


def _piece() -> float:
    """About ten milliseconds of what an interpreter does all day."""
    began = time.perf_counter()
    numbers: dict[str, int] = {}
    for number in range(30_000):
        numbers[str(number % 1000)] = number
    return time.perf_counter() - began
