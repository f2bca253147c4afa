"""What is written beside the table: bench/results/summary.json, with the machine and the time of each measurement."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.measure import RESULTS, Row, as_table, write_json
from bench.process import load_average

SUMMARY = "summary.json"


class Report:
    """Collects measurements. One that was not made in this run stays in the summary, with its own time."""

    def __init__(self, results: Path = RESULTS) -> None:
        self._results = results
        self._rows: list[Row] = []
        self._seconds = 0.0

    def add(self, name: str, rows: Sequence[Row], facts: Mapping[str, float]) -> None:
        """The judged rows of a measurement, and what its watch has seen; in NAME.json and in the summary."""
        self._rows += rows
        self._seconds += facts["seconds"]
        file = self._results / f"{name}.json"
        more = json.loads(file.read_text()) if file.exists() else {}
        told = {"machine": machine(), **facts, "table": as_table(rows)}
        write_json(file, {**told, **{key: value for key, value in more.items() if key not in told}})
        summary = self._results / SUMMARY
        known = json.loads(summary.read_text()) if summary.exists() else {}
        write_json(summary, {**known, name: told})

    @property
    def said(self) -> str:
        """How much was promised, kept, missed, and not to be told."""
        verdicts = [row.verdict for row in self._rows if row.bound is not None]
        counts = ", ".join(f"{verdicts.count(each)} {each}" for each in ("kept", "MISSED", "noisy"))
        here = machine()
        return (
            f"{len(verdicts)} promises: {counts}. {self._seconds:.0f} s on {here['processors']} processors"
            f" ({here['model']}), Python {here['python']}, load {here['load']:g}."
        )


def machine() -> dict[str, Any]:
    """Where and when something was measured. `load` is the load average of the last minute."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processors": os.cpu_count() or 1,
        "model": _model(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": load_average(),
    }


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
