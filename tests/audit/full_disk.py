"""A trail whose disk is full for a while, run as a script: python -m tests.audit.full_disk DIRECTORY.

The limit on the size of a file (RLIMIT_FSIZE) holds for the whole process, so it is set in one of its own: the kernel
then writes what fits and refuses the rest, as a full disk does.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from app.audit import AuditTrail, AuditUnavailable
from app.observability import configure_logging
from tests.audit.support import event, proven
from tests.support import eventually


def limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def refused(trail: AuditTrail) -> str:
    try:
        trail.record(event("refused"), durable=True)
    except AuditUnavailable as error:
        return type(error).__name__
    return "written"


def mostly_intact(path: Path) -> bool:
    """At most looks: it is tried again and again, and what fits is written, and taken back at once."""
    looks = []
    for _ in range(20):
        looks.append(proven(path).intact)
        time.sleep(0.01)  # the pause between two looks
    return sum(looks) > len(looks) / 2


def main(directory: Path) -> dict[str, object]:
    trail = AuditTrail(directory, chain="worker-0", clock=time.time, capacity=20, retry_seconds=0.05)
    trail.start()
    path = trail.path
    assert path is not None
    trail.record(event("before"), durable=True)
    limit(path.stat().st_size + 100)  # a quarter of a record
    answer: dict[str, object] = {"durable_when_full": refused(trail)}
    for _ in range(50):
        trail.record(event("waiting"))
    eventually(lambda: not trail.healthy)
    answer["healthy_when_full"] = trail.healthy
    answer["intact_when_full"] = mostly_intact(path)
    limit(resource.RLIM_INFINITY)
    answer["healthy_after"] = eventually(lambda: trail.healthy)
    trail.record(event("after"), durable=True)
    trail.close()
    return answer


if __name__ == "__main__":
    configure_logging("info", sys.stderr)
    print(json.dumps(main(Path(sys.argv[1]))))  # noqa: T201 - the script's answer
