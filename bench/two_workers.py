"""Two workers over Valkey with 8,000 WebSocket subscribers: from the webhook to the last client."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench.fanout import Plan, measure
from bench.measure import Row, save, written
from bench.wire import websocket

STREAMS = 8_000
HOOK_BOUND = 0.8


def rows(streams: int = STREAMS) -> list[Row]:
    """Measure, save, and tell."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        found = measure(Path(directory), Plan(websocket, streams, workers=2))
    name, noise = f"{streams} ws, two workers", f"load {found.load[0]:g} to {found.load[1]:g}"
    table = [
        Row(f"{name}: from webhook, p99", found.hook.p99, "s", HOOK_BOUND, found.floor.p99, noise),
        Row(f"{name}: from webhook, last", found.hook.last, "s", note=f"installing took {found.install_seconds:g} s"),
        Row(f"{name}: memory each", max(found.opened, found.used), "KB", floor=found.floor_kb),
    ]
    save("two_workers", table, found=asdict(found))
    return table


if __name__ == "__main__":
    sys.stdout.write(written(rows()) + "\n")
