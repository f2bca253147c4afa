"""10,000 clients that come and go: nothing of them may stay."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.floor import Floor
from bench.load import Load
from bench.measure import Row, save
from bench.process import descriptors, metric, pss_kb
from bench.stage import Stage
from bench.wire import FLOOR, Opening, events, websocket

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
        Floor() as floor,
        Load(floor.port) as others,
    ):
        openings = [stage.openings(wave, kind) for kind in (websocket, events)]
        empty = pss_kb(stage.worker)
        load.open(openings[0], timeout=_PATIENCE)
        open_kb = round((pss_kb(stage.worker) - empty) / wave, 1)
        load.drop()
        _waves(stage, load, openings, 4)  # pools, caches and arenas grow once
        held, memory = descriptors(stage.worker), pss_kb(stage.worker)
        began = time.monotonic()
        _waves(stage, load, openings, streams // wave)
        seconds = time.monotonic() - began
        left = metric(stage.server.url, _OPEN)
        more = max(descriptors(stage.worker) - held, 0)
        kept = round((pss_kb(stage.worker) - memory) / streams, 3)
        bare = _bare_waves(others, wave, streams // wave)
    table = [
        Row("come and go: streams left", left, "", 0, streams, beside="opened"),
        Row("come and go: descriptors left", more, "", 0, streams, beside="opened"),
        Row("come and go: memory left each", kept, "KB", LEFT_BOUND, open_kb, beside="open the first time"),
        Row("come and go", round(streams / seconds), "/s", None, round(streams / bare), beside="bare sockets"),
    ]
    if keep:
        save("churn", table, streams=streams, wave=wave, stream_seconds=round(seconds, 1))
    return table


def _waves(stage: Stage, load: Load, openings: list[list[Opening]], count: int) -> None:
    for number in range(count):
        load.open(openings[number % len(openings)], timeout=_PATIENCE)
        load.drop(abruptly=number % 4 > 1)
        _all_gone(stage)


def _bare_waves(load: Load, wave: int, count: int) -> float:
    """The seconds that the floor takes for as many."""
    began = time.monotonic()
    for number in range(count):
        load.open([FLOOR] * wave, timeout=_PATIENCE)
        load.drop(abruptly=number % 4 > 1)
    return time.monotonic() - began


def _all_gone(stage: Stage) -> None:
    """Wait until the worker has noticed, or `_PATIENCE` seconds: then what is left is the finding."""
    until = time.monotonic() + _PATIENCE
    while metric(stage.server.url, _OPEN) and time.monotonic() < until:
        time.sleep(0.05)
