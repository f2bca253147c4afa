"""All measurements, one table: `python -m bench`, or the names of some."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from bench import churn, client, history, latency, one_worker, planning, reads, two_workers
from bench.measure import Row, written

ALL: Mapping[str, Callable[[], Sequence[Row]]] = {
    "reads": reads.rows,
    "latency": latency.rows,
    "fanout_ws": partial(one_worker.rows, "ws"),
    "fanout_sse": partial(one_worker.rows, "sse"),
    "two_workers": two_workers.rows,
    "churn": churn.rows,
    "history": history.rows,
    "client": client.rows,
    "planning": planning.rows,
}

if __name__ == "__main__":
    found: list[Row] = []
    for name in sys.argv[1:] or ALL:
        sys.stderr.write(f"{name} ...\n")
        found += ALL[name]()
    sys.stdout.write(written(found) + "\n")
