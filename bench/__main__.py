"""All measurements, one table: `python -m bench`, or the names of some."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from bench import (
    churn,
    client,
    history,
    latency,
    one_worker,
    peers,
    planning,
    propagation,
    reads,
    sizes,
    two_workers,
    vault,
)
from bench.measure import Row, written
from bench.noise import Watch, judged
from bench.plots import draw
from bench.report import Report

ALL: Mapping[str, Callable[[], Sequence[Row]]] = {
    "reads": reads.rows,
    "latency": latency.rows,
    "fanout_ws": partial(one_worker.rows, "ws"),
    "fanout_sse": partial(one_worker.rows, "sse"),
    "two_workers": two_workers.rows,
    "churn": churn.rows,
    "propagation": propagation.rows,
    "sizes": sizes.rows,
    "history": history.rows,
    "planning": planning.rows,
    "vault": vault.rows,
    "client": client.rows,
    "peers": peers.rows,
}


def main(names: Sequence[str]) -> int:
    """Measure these, or all; 1 when one of them has failed, which keeps the others from nothing."""
    unknown = set(names) - set(ALL)
    if unknown:
        sys.stderr.write(f"There is no {', '.join(sorted(unknown))}; there are {', '.join(ALL)}.\n")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    report, found, failed = Report(), [], []
    for name in names or ALL:
        try:
            found += _measured(name, report)
        except Exception:  # noqa: BLE001 - told here and by the exit code; the other numbers are wanted too
            failed.append(name)
            traceback.print_exc()
    draw()
    sys.stdout.write(f"{written(found)}\n\n{report.said}\n")
    if failed:
        sys.stdout.write(f"FAILED: {', '.join(failed)}\n")
    return int(bool(failed))


def _measured(name: str, report: Report) -> list[Row]:
    sys.stderr.write(f"{name} ... ")
    sys.stderr.flush()
    with Watch() as watch:
        rows = ALL[name]()
    table = judged(rows, watch.noise)
    sys.stderr.write(f"{watch.seconds:.0f} s{f', noisy: {watch.noise}' if watch.noise else ''}\n")
    report.add(name, table, watch.facts)
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
