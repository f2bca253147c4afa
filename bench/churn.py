"""10,000 clients that come and go: nothing of them may stay."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from bench.load import Load
from bench.measure import Row, save, written
from bench.process import descriptors, load_average, metric, pss_kb
from bench.stage import Stage
from bench.wire import Opening, events, websocket

STREAMS = 10_000
#: How many are open at a time.
WAVE = 500
#: KB per connection that has gone. A greenlet that stays, or what it holds, is more than ten.
LEFT_BOUND = 1.0
_OPEN = "config_server_streams_open"
_PATIENCE = 30.0


def rows(streams: int = STREAMS, wave: int = WAVE, *, keep: bool = True) -> list[Row]:
    """Half of them WebSocket, half SSE; half of the waves end with RST. Measure, tell, and save when told to `keep`."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        Stage(Path(directory), topics=wave // 5, streams=2 * wave) as stage,
        Load(stage.server.port) as load,
    ):
        openings = [stage.openings(wave, kind) for kind in (websocket, events)]
        _waves(stage, load, openings, 4)  # pools, caches and arenas grow once
        held, memory = descriptors(stage.worker), pss_kb(stage.worker)
        began = time.monotonic()
        _waves(stage, load, openings, streams // wave)
        seconds = time.monotonic() - began
        left = metric(stage.server.url, _OPEN)
        more = descriptors(stage.worker) - held
        kept = round((pss_kb(stage.worker) - memory) / streams, 3)
    name = f"{streams} come and go"
    table = [
        Row(f"{name}: streams left", left, "", 0),
        Row(f"{name}: descriptors left", more, "", 0),
        Row(f"{name}: memory left each", kept, "KB", LEFT_BOUND, note=f"load {load_average():g}"),
        Row(f"{name}: per second", round(streams / seconds), "/s"),
    ]
    if keep:
        save("churn", table, wave=wave, seconds=round(seconds, 1))
    return table


def _waves(stage: Stage, load: Load, openings: list[list[Opening]], count: int) -> None:
    for number in range(count):
        load.open(openings[number % len(openings)], timeout=_PATIENCE)
        load.drop(abruptly=number % 4 > 1)
        _all_gone(stage)


def _all_gone(stage: Stage) -> None:
    """Wait until the worker has noticed, or `_PATIENCE` seconds: then what is left is the finding."""
    until = time.monotonic() + _PATIENCE
    while metric(stage.server.url, _OPEN) and time.monotonic() < until:
        time.sleep(0.05)


if __name__ == "__main__":
    sys.stdout.write(written(rows()) + "\n")
