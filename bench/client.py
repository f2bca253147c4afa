"""What the client library costs a service: its import, and its idling on a stream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.measure import Row, save
from bench.stage import Stage
from devstack.server import ROOT

#: What was promised, in milliseconds.
IMPORT_BOUND = 150.0
_KINDS = ("asyncio", "threads")


@dataclass(frozen=True, slots=True)
class Plan:
    """`seconds` is how long nothing happens while wake-ups are counted, more than a heartbeat by default."""

    imports: int = 15
    clients: int = 50
    seconds: float = 25.0


@dataclass(frozen=True, slots=True)
class Idle:
    """Of one process with so many clients: KB for each, and of all of them wake-ups and CPU milliseconds a minute."""

    memory: float
    wakeups: float
    cpu: float


def rows(plan: Plan | None = None, *, keep: bool = True) -> list[Row]:
    plan = plan or Plan()
    empty, whole = (imported(code, plan.imports) for code in ("import asyncio", "import config_client"))
    found = [Row("client: import", whole, "ms", IMPORT_BOUND, empty, beside="import asyncio")]
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, _stage(Path(directory), plan) as stage:
        idle = _idle(stage, plan)
    for kind in _KINDS:
        one, many = (idle[kind, count] for count in (1, plan.clients))
        bare, bare_many = (idle[f"bare-{kind}", count] for count in (1, plan.clients))
        name, beside = f"client, {kind}", "a plain connection"
        found += [
            Row(f"{name}: memory of each of {plan.clients}", many.memory, "KB", None, bare_many.memory, beside=beside),
            Row(f"{name}: wake-ups a minute", one.wakeups, "", None, bare.wakeups, beside=beside),
            Row(f"{name}: CPU a minute of {plan.clients}", many.cpu, "ms", None, bare_many.cpu, beside=beside),
        ]
    if keep:
        save("client", found, plan=asdict(plan))
    return found


def imported(code: str, times: int) -> float:
    """The best of fresh interpreters, in milliseconds: what else the machine does is not the import's doing."""
    timed = f"import time; began = time.perf_counter(); {code}; print(time.perf_counter() - began)"
    return round(min(float(_python("-c", timed)) for _ in range(times)) * 1000, 1)


def _idle(stage: Stage, plan: Plan) -> dict[tuple[str, int], Idle]:
    """The library's clients and plain ones, one and many of them, all at the same time: they do nothing, after all."""
    cases = [(f"{prefix}{kind}", count) for prefix in ("", "bare-") for kind in _KINDS for count in (1, plan.clients)]
    with ThreadPoolExecutor(len(cases)) as pool:
        measured = pool.map(lambda case: idle(stage, case[0], case[1], plan.seconds), cases)
        return dict(zip(cases, measured, strict=True))


def idle(stage: Stage, kind: str, clients: int, seconds: float) -> Idle:
    """Measured by the process of the clients itself: see `idle_client`."""
    service = stage.service(0)
    given = [kind, stage.server.url, service, stage.issuer.token(scope="config:read", service=service)]
    told = json.loads(_python("-m", "bench.idle_client", *given, str(clients), str(seconds)))
    return Idle(*(round(told[name], 1) for name in ("memory", "wakeups", "cpu")))


def _stage(directory: Path, plan: Plan) -> Stage:
    return Stage(directory, topics=1, streams=6 * plan.clients + 50)


def _python(*arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "client")}
    command: Sequence[str] = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout  # noqa: S603 - ours
