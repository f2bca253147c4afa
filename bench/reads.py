"""A cached read with a token: how many a worker answers beside a function that only returns the same bytes."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Row, save
from bench.process import load_average
from bench.read_stage import SERVICES, TOKENS, ReadStage
from bench.wrk import client, rate

#: Of the bare function's requests a second, what was promised: for a whole answer, and for 304.
WHOLE_BOUND, UNCHANGED_BOUND = 0.75, 0.80


@dataclass(frozen=True, slots=True)
class Plan:
    """In each round the bare function and the server are asked for `seconds`, one after the other."""

    rounds: int = 7
    seconds: float = 2.0
    services: int = SERVICES
    tokens: int = TOKENS


@dataclass(frozen=True, slots=True)
class Found:
    """Requests a second, of each round."""

    bare: list[float]
    server: list[float]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios: what else the machine does touches both sides of one."""
        return round(statistics.median(self.ratios), 3)

    @property
    def ratios(self) -> list[float]:
        return sorted(server / bare for server, bare in zip(self.server, self.bare, strict=True))


def rows(plan: Plan | None = None, *, keep: bool = True) -> list[Row]:
    plan = plan or Plan()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        found = measure(Path(directory), plan)
    table = [
        _row("read, 200", found["whole"], WHOLE_BOUND),
        _row("read, 304", found["unchanged"], UNCHANGED_BOUND),
    ]
    if keep:
        rounds = {name: {"bare": each.bare, "server": each.server} for name, each in found.items()}
        save("reads", table, rounds=rounds, load=load_average(), client=client())
    return table


def measure(directory: Path, plan: Plan) -> dict[str, Found]:
    with ReadStage(directory, services=plan.services, tokens=plan.tokens) as stage:
        kinds = {
            "whole": [each.whole for each in stage.asked],
            "unchanged": [each.if_changed for each in stage.asked],
        }
        found = {name: Found([], []) for name in kinds}
        for requests in kinds.values():  # caches, arenas, and the processor's clock
            _round(stage, requests, plan.seconds)
        for _ in range(plan.rounds):
            for name, requests in kinds.items():
                bare, server = _round(stage, requests, plan.seconds)
                found[name].bare.append(bare)
                found[name].server.append(server)
    return found


def _round(stage: ReadStage, requests: Sequence[str], seconds: float) -> tuple[float, float]:
    bare = rate(stage.bare.port, requests, seconds)
    return round(bare, 1), round(rate(stage.server.port, requests, seconds), 1)


def _row(name: str, found: Found, bound: float) -> Row:
    """Held against the median of the rounds' ratios: what else the machine does touches both sides of one."""
    bare = round(statistics.median(found.bare))
    note = f"rounds {found.ratios[0]:.2f} to {found.ratios[-1]:.2f}; by {client()}"
    value = round(found.ratio * bare)
    return Row(name, value, "/s", bound, bare, note, at_least=True, of_ratio=True, beside="a bare function")
