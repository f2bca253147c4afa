"""What a change would do, in a repository of 30,000 files: of one service's file, and of one that all services see."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from bench.history import FILES, SERVICES, Plan, service_name, staged
from bench.imported import Imported
from bench.measure import Row, save
from devstack.origin import git

#: What an admin in an incident should not notice, and may wait for, in seconds.
ONE_BOUND, ALL_BOUND = 0.150, 5.0
_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Found:
    """Seconds of each plan: of one service's file, of a new file, of one that all `targets` see.

    `bare`: of Git alone, when it makes the tree of such a change.
    """

    one: list[float]
    new: list[float]
    every: list[float]
    targets: int
    bare: list[float]


def rows(*, keep: bool = True) -> list[Row]:
    plan = Plan(commits=2, files=FILES, services=SERVICES)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        found = measure(Path(directory), plan)
    name = f"a plan, {plan.files} files"
    every = f"{name}: a file that {found.targets} targets see"
    bare, beside = statistics.median(found.bare), "Git alone making the tree"
    table = [
        Row(f"{name}: one service's, slowest of {_ROUNDS}", max(found.one), "s", ONE_BOUND, bare, beside=beside),
        Row(f"{name}: one service's, median", statistics.median(found.one), "s", ONE_BOUND, bare, beside=beside),
        Row(f"{name}: a new file, median", statistics.median(found.new), "s", 2 * ONE_BOUND, bare, beside=beside),
        Row(f"{every}, the first", found.every[0], "s", ALL_BOUND, bare, beside=beside),
        Row(f"{every}, again", min(found.every), "s", ALL_BOUND, bare, beside=beside),
    ]
    if keep:
        save("planning", table, found=asdict(found))
    return table


def measure(directory: Path, plan: Plan, rounds: int = _ROUNDS) -> Found:
    with staged(directory, plan, scope="config:write") as (_, client, origin):
        _planned(client, _path(0), "warm", 0)  # the tree, the names of all targets
        one = [_planned(client, _path(number), "pool", number)[0] for number in range(1, rounds + 1)]
        new = [_planned(client, f"new{number}.yml", "pool", number, is_new=True)[0] for number in range(rounds)]
        every = [_planned(client, "application.yml", "added", number) for number in range(3)]
        bare = [_bare(origin, _path(number), number) for number in range(1, 4)]
        return Found(one, new, [seconds for seconds, _ in every], every[0][1], bare)


def _bare(origin: Imported, path: str, value: int) -> float:
    """What `git` takes for the tree of main with another content at `path`."""
    began = time.perf_counter()
    blob = git(origin.path, "hash-object", "-w", "--stdin", stdin=f"pool: {value}\n".encode())
    git(origin.path, "read-tree", "refs/heads/main")
    git(origin.path, "update-index", "--cacheinfo", f"100644,{blob},{path}")
    git(origin.path, "write-tree")
    return round(time.perf_counter() - began, 4)


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
