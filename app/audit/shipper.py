"""Carries this worker's chain to the trail of the cluster, and anchors the other chains in it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from app.audit.anchors import ANCHOR, Anchors
from app.audit.event import Link
from app.audit.shared import ChainHead, SharedTrail
from app.audit.tail import Tail, number_of
from app.errors import BusUnavailable

_BATCH: Final = 200

log = structlog.get_logger(__name__)


class Shipper:
    """A thread that adds what is new every `seconds`, and looks at the other chains every `anchor_seconds`.

    What it adds stands in the file, and only that. While Redis is away the files keep it; then it follows. `end` tells
    the chain's name and end (None: it is not open); records beyond that end may yet be taken back. Of a chain that is
    not known in Redis, at most `records` are added.
    """

    def __init__(
        self,
        shared: SharedTrail,
        directory: Path,
        end: Callable[[], tuple[str, Link] | None],
        anchors: Anchors,
        *,
        seconds: float,
        anchor_seconds: float,
        records: int,
    ) -> None:
        self._shared = shared
        self._directory = directory
        self._end = end
        self._anchors = anchors
        self._seconds = seconds
        self._anchor_seconds = anchor_seconds
        self._records = records
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._tail: Tail | None = None
        self._head: ChainHead | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="audit-shipper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Add what there is still, if Redis answers."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._tail is not None:
            self._tail.close()

    def ship(self) -> None:
        """Add what is new. Raises BusUnavailable, OSError."""
        end = self._end()
        if end is None:
            return
        chain, link = end
        self._tail = self._tail or Tail(self._directory, chain)
        head, self._head = self._head or self._shared.head(chain), None
        known = head.link.seq if head.link.seq <= link.seq else 0  # beyond the end: the chain was begun anew
        known = max(known, link.seq - self._records)
        while lines := self._tail.after(known, link.seq, limit=_BATCH):
            after = _after(head, lines)
            if not self._shared.add(chain, head, after, lines):
                return  # an answer that was lost, or Redis was restored: look again
            head, known = after, after.link.seq
        self._head = head

    def anchor(self) -> None:
        """Record where the other chains end. Raises BusUnavailable."""
        end = self._end()
        if end is not None:
            self._anchors.anchor(end[0], self._shared.heads())

    def _run(self) -> None:
        anchor_at = time.monotonic() + self._anchor_seconds
        stopping = False
        while not stopping:
            stopping = self._stop.wait(self._seconds)
            try:
                self.ship()
                if time.monotonic() >= anchor_at:
                    anchor_at = time.monotonic() + self._anchor_seconds
                    self.anchor()
            except (BusUnavailable, OSError) as failure:
                self._head = None
                log.debug("audit.not_shipped", reason=str(failure))
            except Exception:  # the loop must outlive whatever a record did not foresee; it is logged with its stack
                self._head = None
                log.exception("audit.shipping_failed")


def _after(head: ChainHead, lines: list[bytes]) -> ChainHead:
    told = next((number_of(line) for line in reversed(lines) if ANCHOR not in line), head.told)
    last = json.loads(lines[-1])
    return ChainHead.written(Link(last["seq"], last["hash"]), told)
