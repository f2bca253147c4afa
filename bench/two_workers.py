"""Two workers over Valkey with 8,000 WebSocket subscribers: from the webhook to the last client."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

from bench.fanout import Plan, measure
from bench.measure import Row, save
from bench.noise import unsteady
from bench.wire import websocket

STREAMS = 8_000
HOOK_BOUND = 0.8


def rows(streams: int = STREAMS) -> list[Row]:
    """Measure, save, and tell."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        found = measure(Path(directory), Plan(websocket, streams, workers=2))
    name, noise, beside = f"{streams} ws, two workers", unsteady(found.floor_rounds), "bare sockets of one process"
    note = f"installing took {found.install_seconds:g} s"
    p99, last, memory = found.hook.p99, found.hook.last, max(found.opened, found.used)
    table = [
        Row(f"{name}: from webhook, p99", p99, "s", HOOK_BOUND, found.floor.p99, note, beside=beside, noise=noise),
        Row(f"{name}: from webhook, last", last, "s", None, found.floor.last, beside=beside),
        Row(f"{name}: memory each", memory, "KB", floor=found.floor_kb, beside=beside),
    ]
    save("two_workers", table, found=asdict(found))
    return table
