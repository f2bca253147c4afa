"""One worker with ten thousand streams, for either transport."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

from bench.fanout import Found, Plan, measure
from bench.measure import Row, save
from bench.noise import unsteady
from bench.wire import events, websocket

STREAMS = 10_000
#: Seconds from the first client that is told to 99 % of them.
TOLD_BOUND = 0.4
KINDS = {"ws": websocket, "sse": events}
MEMORY_BOUNDS = {"ws": 48.0, "sse": 24.0}


def rows(transport: str, streams: int = STREAMS) -> list[Row]:
    """Measure, save, and tell. `transport` is ws or sse."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        found = measure(Path(directory), Plan(KINDS[transport], streams))
    table = _table(transport, streams, found)
    save(f"fanout_{transport}", table, found=asdict(found))
    return table


def _table(transport: str, streams: int, found: Found) -> list[Row]:
    name, noise, beside = f"{streams} {transport}", unsteady(found.floor_rounds), "bare sockets"
    memory, bound, bare = max(found.opened, found.used), MEMORY_BOUNDS[transport], found.floor.p99
    note = f"installing took {found.install_seconds:g} s"
    return [
        Row(f"{name}: memory each", memory, "KB", bound, found.floor_kb, beside=beside),
        Row(f"{name}: all told, p99", found.told.p99, "s", TOLD_BOUND, bare, beside=beside, noise=noise),
        Row(f"{name}: from webhook, p99", found.hook.p99, "s", None, bare, note, beside=beside),
        Row(f"{name}: opened", found.opened_per_second, "/s", None, found.floor_per_second, beside=beside),
    ]
