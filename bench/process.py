"""What a process holds, as the kernel and its own metrics tell it."""

from __future__ import annotations

import os
import re
import urllib.request
from pathlib import Path


def pss_kb(pid: int) -> int:
    """Proportional set size in KB: what would be free again if the process ended, its share of shared pages."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/{pid}/smaps_rollup tells no Pss")
    return int(found[1])


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def metric(url: str, name: str) -> float:
    """The sum of a metric over its labels, as the server tells it now."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:  # noqa: S310 - our own server on loopback
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}(\{{| )", line))


def load_average() -> float:
    """Of the last minute: with two cores, more than two says that others were at work."""
    return round(os.getloadavg()[0], 2)


def rss_mb(pid: int) -> float:
    """Resident set size in MB, what is shared with other processes included."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/{pid}/status tells no VmRSS")
    return round(int(found[1]) / 1024, 1)


def pin(pid: int, core: int) -> None:
    """Let the process (its first thread, and what begins later) run on one core, where there are two to tell apart."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(pid, {core})
