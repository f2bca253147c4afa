"""From `git push` over the webhook to the last of 1,000 clients on two workers, beside what Git alone takes."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.load import Load
from bench.measure import Row, Spread, curve, median, save, spread
from bench.stage import Stage
from bench.wire import websocket
from devstack.origin import git

CLIENTS, TOPICS, ROUNDS = 1_000, 50, 5
#: Within a second of the push.
BOUND = 1.0
_PATIENCE = 60.0
_FETCH = ("fetch", "--quiet", "--prune", "--no-tags", "origin", "+refs/heads/*:refs/heads/*")


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds: of the push alone, from its beginning to the clients, from the webhook to them, of a bare fetch."""

    push: float
    told: Spread
    hook: Spread
    fetch: float
    install: float
    curve: list[float]


def rows(clients: int = CLIENTS, topics: int = TOPICS, rounds: int = ROUNDS, *, keep: bool = True) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        found = measure(Path(directory), clients, topics, rounds)
    told, hook = (median([getattr(each, of) for each in found]) for of in ("told", "hook"))
    push, fetch, install = (_middle(found, of) for of in ("push", "fetch", "install"))
    name, alone = f"push to {clients} clients, two workers", round(push + fetch, 4)
    note = f"installing took {install:g} s"
    table = [
        Row(f"{name}: last", told.last, "s", BOUND, alone, note, beside="git push and git fetch alone"),
        Row(f"{name}: p50", told.p50, "s", None, alone, beside="git push and git fetch alone"),
        Row("webhook to the last of them", hook.last, "s", None, fetch, beside="git fetch alone"),
    ]
    if keep:
        middle = sorted(found, key=lambda each: each.told.last)[len(found) // 2]
        save("propagation", table, push=push, fetch=fetch, curve=middle.curve, rounds=[asdict(each) for each in found])
    return table


def measure(directory: Path, clients: int, topics: int, rounds: int) -> list[Round]:
    mirror = directory / "mirror.git"
    mirror.mkdir()
    with (
        Stage(directory, topics=topics, streams=clients + 100, workers=2) as stage,
        Load(stage.server.port) as load,
    ):
        git(mirror, "init", "--quiet", "--bare", ".")
        git(mirror, "remote", "add", "origin", stage.origin.url)
        git(mirror, *_FETCH)
        load.open(stage.openings(clients, websocket), timeout=_PATIENCE)
        return [_round(stage, load, mirror, number) for number in range(rounds)]


def _round(stage: Stage, load: Load, mirror: Path, number: int) -> Round:
    marker = f"round-{number}."
    stage.commit(marker)
    load.expect(marker)
    began = time.monotonic()
    stage.origin.push()
    pushed = time.monotonic()
    hooked = stage.hook()
    arrived = load.arrivals(timeout=_PATIENCE)
    if arrived.lost:
        raise RuntimeError(f"{arrived.lost} clients were not told")
    install = stage.install_seconds()
    asked = time.monotonic()
    git(mirror, *_FETCH)
    fetch = round(time.monotonic() - asked, 4)
    told, hook = spread(arrived.times, began), spread(arrived.times, hooked)
    return Round(round(pushed - began, 4), told, hook, fetch, install, curve(arrived.times, began))


def _middle(found: list[Round], of: str) -> float:
    values: list[float] = [getattr(each, of) for each in found]
    return round(statistics.median(values), 4)
