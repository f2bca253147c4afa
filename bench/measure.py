"""What one measurement found, and the few sums that are done with it."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
#: What is measured in these units (x: times another time) other programs can falsify; memory and counts they cannot.
_TIMED = ("s", "ms", "µs", "/s", "x")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: `value` beside `floor`, which is what `beside` says, measured in the same run.

    `bound` is what was promised: of the value or `of_ratio`, not more than that or `at_least` that. `noise` says why
    the machine was too busy to tell; no verdict then.
    """

    name: str
    value: float
    unit: str
    bound: float | None = None
    floor: float | None = None
    note: str = ""
    at_least: bool = False
    of_ratio: bool = False
    beside: str = ""
    noise: str = ""

    @property
    def ratio(self) -> float | None:
        return round(self.value / self.floor, 3 if self.value < self.floor else 2) if self.floor else None

    @property
    def kept(self) -> bool | None:
        """Whether what was promised holds. None if nothing was, or nobody can tell."""
        if self.bound is None or self.noise:
            return None
        measured = self.value
        if self.of_ratio:
            measured = self.value / self.floor if self.floor else 0.0
        return measured >= self.bound if self.at_least else measured <= self.bound

    @property
    def verdict(self) -> str:
        return "noisy" if self.noise else {None: "", True: "kept", False: "MISSED"}[self.kept]

    @property
    def promised(self) -> str:
        """As people write it: "<= 0.4 s", ">= 0.75x"."""
        if self.bound is None:
            return ""
        return f"{'>=' if self.at_least else '<='} {self.bound:g}{'x' if self.of_ratio else f' {self.unit}'}".strip()

    @property
    def timed(self) -> bool:
        return self.unit in _TIMED


@dataclass(frozen=True, slots=True)
class Spread:
    """When the clients were told, in seconds since the beginning: of a round, or the medians of several."""

    p50: float
    p99: float
    last: float


def spread(times: Sequence[float], since: float) -> Spread:
    """`times` are sorted."""
    return Spread(*(round(at(times, share) - since, 4) for share in (0.5, 0.99, 1.0)))


def curve(times: Sequence[float], since: float) -> list[float]:
    """By when each hundredth of the clients was told, from 0 to 100. `times` are sorted."""
    return [round(at(times, percent / 100) - since, 4) for percent in range(101)]


def median(spreads: Sequence[Spread]) -> Spread:
    return Spread(*(round(statistics.median(column), 4) for column in zip(*map(_values, spreads), strict=True)))


def at(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of the sorted values lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def save(name: str, rows: Sequence[Row], **more: object) -> None:
    """bench/results/NAME.json: the table, and everything it was made from."""
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{name}.json", {"table": as_table(rows), **more})


def as_table(rows: Sequence[Row]) -> list[dict[str, object]]:
    return [{**asdict(row), "ratio": row.ratio, "verdict": row.verdict} for row in rows]


def write_json(file: Path, content: object) -> None:
    """Lists of numbers stand on one line."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    file.write_text(re.sub(r"\[[-\d.,e\s]+\]", lambda found: " ".join(found[0].split()), text) + "\n")


def written(rows: Sequence[Row]) -> str:
    """The table for people."""
    head = ("what", "measured", "beside it", "ratio", "promised", "", "")
    lines = [head, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    floor = "" if row.floor is None else f"{row.floor:g} {row.unit} {row.beside}".replace("  ", " ").strip()
    ratio = "" if row.ratio is None else f"{row.ratio:g}x"
    return row.name, f"{row.value:g} {row.unit}".strip(), floor, ratio, row.promised, row.verdict, row.noise or row.note


def _values(spread: Spread) -> tuple[float, float, float]:
    return spread.p50, spread.p99, spread.last
