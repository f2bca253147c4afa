"""A server of several real processes, run as a script: python -m tests.observability.worker DIRECTORY PROCESSES.

PROMETHEUS_MULTIPROC_DIR must be set before the interpreter starts, so this cannot happen inside the test's own process.
Forks the workers one after another; each counts and is folded once it is dead; prints the totals of both ways as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from flask import Flask

from app.observability.flask_metrics import install
from app.observability.metrics import Metrics
from app.observability.multiprocess import FOLDED, fold_dead


def work(metrics: Metrics, number: int) -> None:
    """What one worker counts in its life."""
    metrics.observe_fetch("ok", 0.01 * number)
    metrics.set_last_fetch(1000.0 + number)
    metrics.add_stream("sse", 2)
    metrics.set_cursor(number)
    metrics.observe_request("GET", "/v1/config/<service>/<env>", 200, 0.001 * number)
    for _ in range(number):
        metrics.count_cache("local", hit=True)


def forked(metrics: Metrics, number: int) -> int:
    """Run `work` in a process of its own until its death, and return its id."""
    pid = os.fork()
    if pid == 0:
        work(metrics, number)
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def totals(metrics: Metrics) -> dict[str, float]:
    """Every sample of the scrape."""
    body, _ = metrics.render()
    samples = (line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#"))
    return {series: float(value) for series, value in samples}


def main(directory: Path, processes: int) -> None:
    metrics = Metrics(version="1.2.3")
    install(Flask("worker"), metrics)
    pids = [forked(metrics, number) for number in range(1, processes + 1)]
    before, started = totals(metrics), time.perf_counter()
    totals(metrics)
    slow = time.perf_counter() - started
    for pid in pids:
        fold_dead(directory, pid)
    started = time.perf_counter()
    after = totals(metrics)
    print(  # noqa: T201 - the script's answer
        json.dumps(
            {
                "before": before,
                "after": after,
                "slow": slow,
                "fast": time.perf_counter() - started,
                "files": sorted(path.name for path in directory.iterdir()),
                "own": os.getpid(),
                "folded": FOLDED,
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
