"""What a change would do, in a repository of 30,000 files: of one service's file, and of one that all services see."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.history import FILES, SERVICES, Plan, service_name, staged
from bench.measure import Row, save, written
from bench.process import load_average

#: What an admin in an incident should not notice, and may wait for, in seconds.
ONE_BOUND, ALL_BOUND = 0.150, 5.0
_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Found:
    """Seconds of each plan: of one service's file, of a new file, of one that all `targets` see."""

    one: list[float]
    new: list[float]
    every: list[float]
    targets: int


def rows(*, keep: bool = True) -> list[Row]:
    plan = Plan(commits=2, files=FILES, services=SERVICES)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        found = measure(Path(directory), plan)
    name = f"{plan.files} files"
    every = f"{name}: a plan for a file that {found.targets} targets see"
    table = [
        Row(f"{name}: a plan for one service's file, slowest of {_ROUNDS}", max(found.one), "s", ONE_BOUND),
        Row(f"{name}: the same, median", statistics.median(found.one), "s", ONE_BOUND),
        Row(f"{name}: a plan for a new file, median", statistics.median(found.new), "s", 2 * ONE_BOUND),
        Row(f"{every}, the first", found.every[0], "s", ALL_BOUND, note=f"load {load_average():g}"),
        Row(f"{every}, again", min(found.every), "s", ALL_BOUND),
    ]
    if keep:
        save("planning", table, one=found.one, new=found.new, every=found.every)
    return table


def measure(directory: Path, plan: Plan, rounds: int = _ROUNDS) -> Found:
    with staged(directory, plan, scope="config:write") as (_, client):
        _planned(client, _path(0), "warm", 0)  # the tree, the names of all targets
        one = [_planned(client, _path(number), "pool", number)[0] for number in range(1, rounds + 1)]
        new = [_planned(client, f"new{number}.yml", "pool", number, is_new=True)[0] for number in range(rounds)]
        every = [_planned(client, "application.yml", "added", number) for number in range(3)]
        return Found(one, new, [seconds for seconds, _ in every], every[0][1])


def _path(number: int) -> str:
    return f"services/{service_name(number)}/{service_name(number)}.yml"


def _planned(client: httpx.Client, path: str, key: str, value: int, *, is_new: bool = False) -> tuple[float, int]:
    """How long the plan took, and how many targets it touches."""
    edit = {"file": path, "text": f"{key}: {value}\n"} if is_new else {"file": path, "set": {key: 1_000_000 + value}}
    began = time.perf_counter()
    answer = client.post("/v1/admin/plan", json={"edits": [edit]})
    seconds = round(time.perf_counter() - began, 4)
    answer.raise_for_status()
    return seconds, len(answer.json()["targets"])


if __name__ == "__main__":
    sys.stdout.write(written(rows()) + "\n")
