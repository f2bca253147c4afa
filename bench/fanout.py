"""One change to all: how long until each of thousands has it, and what each costs while it waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.floor import Floor
from bench.load import Arrivals, Load
from bench.measure import Spread, curve, median, spread
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
    """Medians over the rounds. `told`, `floor`: since the first client had it; `hook`: since the webhook was called.

    Memory is growth of proportional set size per connection, in KB: `opened` before the first change, `used` after the
    last. `load` is the machine's load average before and after; `curves` are the seconds by which each hundredth was
    told, since the first, in the round in the middle: of the server, and of the floor.
    """

    told: Spread
    hook: Spread
    floor: Spread
    opened: float
    used: float
    floor_kb: float
    bytes_each: int
    opened_per_second: float
    floor_per_second: float
    install_seconds: float
    load: tuple[float, float]
    curves: tuple[list[float], list[float]]
    floor_rounds: list[float]
    rounds: list[dict[str, object]] = field(default_factory=list)


def measure(directory: Path, plan: Plan) -> Found:
    """Server and floor take turns, round by round, so that what else the machine does touches both."""
    before = load_average()
    with (
        Stage(directory, topics=plan.topics, streams=plan.streams + 100, workers=plan.workers) as stage,
        Load(stage.server.port) as load,
        Floor() as floor,
        Load(floor.port) as others,
    ):
        idle, idle_floor = _memory(stage), pss_kb(floor.pid)
        bare_seconds = others.open([FLOOR] * plan.streams, timeout=_PATIENCE)
        floor_kb = (pss_kb(floor.pid) - idle_floor) / plan.streams
        seconds = load.open(stage.openings(plan.streams, plan.kind), timeout=_PATIENCE)
        time.sleep(plan.settle)
        opened = _memory(stage)
        rounds = [_round(stage, load, floor, others, plan, number) for number in range(plan.rounds)]
        used = _memory(stage)
    middle = sorted(rounds, key=lambda each: each.told.p99)[len(rounds) // 2]
    return Found(
        told=median([each.told for each in rounds]),
        hook=median([each.hook for each in rounds]),
        floor=median([each.floor for each in rounds]),
        opened=round((opened - idle) / plan.streams, 1),
        used=round((used - idle) / plan.streams, 1),
        floor_kb=round(floor_kb, 1),
        bytes_each=rounds[-1].size,
        opened_per_second=round(plan.streams / seconds),
        floor_per_second=round(plan.streams / bare_seconds),
        install_seconds=sorted(each.install for each in rounds)[len(rounds) // 2],
        load=(before, load_average()),
        curves=(middle.curve, middle.bare_curve),
        floor_rounds=[each.floor.p99 for each in rounds],
        rounds=[asdict(each) for each in rounds],
    )


@dataclass(frozen=True, slots=True)
class _Round:
    """One change to all, and the same bytes over the floor's sockets. `install` in seconds, as the server tells it."""

    told: Spread
    hook: Spread
    floor: Spread
    size: int
    install: float
    curve: list[float]
    bare_curve: list[float]


def _round(stage: Stage, load: Load, floor: Floor, others: Load, plan: Plan, number: int) -> _Round:
    marker = f"round-{number}."
    stage.push(marker)
    load.expect(marker)
    began = stage.hook()
    arrived = _complete(load.arrivals(timeout=_PATIENCE), plan.streams)
    time.sleep(plan.settle)
    others.expect(marker)
    floor.send(marker, arrived.size)
    bare = _complete(others.arrivals(timeout=_PATIENCE), plan.streams)
    return _Round(
        spread(arrived.times, arrived.times[0]),
        spread(arrived.times, began),
        spread(bare.times, bare.times[0]),
        arrived.size,
        stage.install_seconds(),
        curve(arrived.times, arrived.times[0]),
        curve(bare.times, bare.times[0]),
    )


def _complete(arrived: Arrivals, streams: int) -> Arrivals:
    if arrived.lost or len(arrived.times) != streams:
        raise RuntimeError(f"{arrived.lost} of {streams} were not told")
    return arrived


def _memory(stage: Stage) -> int:
    return sum(map(pss_kb, stage.server.workers))
