"""One change to all: how long until each of thousands has it, and what each costs while it waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.floor import Floor
from bench.load import Arrivals, Load
from bench.measure import Spread, median, spread
from bench.process import load_average, pss_kb
from bench.stage import Stage
from bench.wire import FLOOR, Opening

#: Topics that share the file which changes.
TOPICS = 200
ROUNDS = 3
_PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. `kind` makes the request of a connection.

    `settle` seconds pass after each step, so that what is written behind (presence, logs) is over before the next.
    """

    kind: Callable[[str, str, str], Opening]
    streams: int
    workers: int = 1
    topics: int = TOPICS
    rounds: int = ROUNDS
    settle: float = 2.0


@dataclass(slots=True)
class Found:
    """Medians over the rounds. `told`: since the first client had it; `hook`: since the webhook was called.

    Memory is growth of proportional set size per connection, in KB: `opened` before the first change, `used` after the
    last. `load` is the machine's load average before and after.
    """

    told: Spread
    hook: Spread
    floor: Spread
    opened: float
    used: float
    floor_kb: float
    bytes_each: int
    opened_per_second: float
    install_seconds: float
    load: tuple[float, float]
    rounds: list[dict[str, object]] = field(default_factory=list)


def measure(directory: Path, plan: Plan) -> Found:
    """The server first, then the floor: they would only disturb each other."""
    before = load_average()
    with Stage(directory, topics=plan.topics, streams=plan.streams + 100, workers=plan.workers) as stage:
        openings = stage.openings(plan.streams, plan.kind)
        idle = _memory(stage)
        with Load(stage.server.port) as load:
            seconds = load.open(openings, timeout=_PATIENCE)
            time.sleep(plan.settle)
            opened = _memory(stage)
            told, hook, size, installs = _rounds(stage, load, plan)
            used = _memory(stage)
            load.drop()
    floor, floor_kb = _floor(plan, size)
    return Found(
        told=median(told),
        hook=median(hook),
        floor=median(floor),
        opened=round((opened - idle) / plan.streams, 1),
        used=round((used - idle) / plan.streams, 1),
        floor_kb=round(floor_kb, 1),
        bytes_each=size,
        opened_per_second=round(plan.streams / seconds),
        install_seconds=sorted(installs)[len(installs) // 2],
        load=(before, load_average()),
        rounds=[{"told": asdict(a), "hook": asdict(b)} for a, b in zip(told, hook, strict=True)],
    )


def _rounds(stage: Stage, load: Load, plan: Plan) -> tuple[list[Spread], list[Spread], int, list[float]]:
    told, hook, installs, size = [], [], [], 0
    for number in range(plan.rounds):
        marker = f"round-{number}."
        stage.push(marker)
        load.expect(marker)
        began = stage.hook()
        arrived = _complete(load.arrivals(timeout=_PATIENCE), plan.streams)
        told.append(spread(arrived.times, arrived.times[0]))
        hook.append(spread(arrived.times, began))
        size = arrived.size
        time.sleep(plan.settle)
        installs.append(stage.install_seconds())
    return told, hook, size, installs


def _floor(plan: Plan, size: int) -> tuple[Sequence[Spread], float]:
    """The same number of connections and bytes, sent by one loop over plain sockets; and KB per connection."""
    found = []
    with Floor() as floor, Load(floor.port) as load:
        idle = pss_kb(floor.pid)
        load.open([FLOOR] * plan.streams, timeout=_PATIENCE)
        grown = pss_kb(floor.pid) - idle
        for number in range(plan.rounds):
            marker = f"round-{number}."
            load.expect(marker)
            began = floor.send(marker, size)
            found.append(spread(_complete(load.arrivals(timeout=_PATIENCE), plan.streams).times, began))
        load.drop()
    return found, grown / plan.streams


def _complete(arrived: Arrivals, streams: int) -> Arrivals:
    if arrived.lost or len(arrived.times) != streams:
        raise RuntimeError(f"{arrived.lost} of {streams} were not told")
    return arrived


def _memory(stage: Stage) -> int:
    return sum(map(pss_kb, stage.server.workers))
