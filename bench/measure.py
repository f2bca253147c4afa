"""What one measurement found, and the few sums that are done with it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `floor` is the same of plain gevent sockets in the same run, `bound` what was promised:
    not more than that, or `at_least` that."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    floor: float | None = None
    note: str = ""
    at_least: bool = False

    @property
    def ratio(self) -> float | None:
        return round(self.value / self.floor, 2) if self.floor else None

    @property
    def kept(self) -> bool | None:
        if self.bound is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@dataclass(frozen=True, slots=True)
class Spread:
    """When the clients were told, in seconds since the beginning: of a round, or the medians of several."""

    p50: float
    p99: float
    last: float


def spread(times: Sequence[float], since: float) -> Spread:
    """`times` are sorted."""
    return Spread(*(round(_at(times, share) - since, 4) for share in (0.5, 0.99, 1.0)))


def median(spreads: Sequence[Spread]) -> Spread:
    return Spread(*(round(statistics.median(column), 4) for column in zip(*map(_values, spreads), strict=True)))


def save(name: str, rows: Sequence[Row], **more: object) -> None:
    """bench/results/NAME.json: the table, and everything it was made from."""
    RESULTS.mkdir(exist_ok=True)
    table = [{**asdict(row), "ratio": row.ratio, "kept": row.kept} for row in rows]
    (RESULTS / f"{name}.json").write_text(json.dumps({"table": table, **more}, indent=2) + "\n")


def written(rows: Sequence[Row]) -> str:
    """The table for people."""
    head = ("what", "measured", "bound", "floor", "ratio", "", "")
    lines = [head, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    verdict = {None: "", True: "kept", False: "MISSED"}[row.kept]
    floor, ratio = (_number(each) for each in (row.floor, row.ratio))
    return row.name, f"{row.value:g} {row.unit}", _number(row.bound), floor, ratio and f"{ratio}x", verdict, row.note


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _at(times: Sequence[float], share: float) -> float:
    return times[min(len(times) - 1, int(len(times) * share))]


def _values(spread: Spread) -> tuple[float, float, float]:
    return spread.p50, spread.p99, spread.last
