"""How often an address has failed to show who it is: counted by the minute, in Redis for all hosts, else in memory."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

from app.cache import RedisLink
from app.errors import BusUnavailable

WINDOW = 60
_MAX_ADDRESSES = 10_000


class FailedAttempts:
    """Thread-safe. Asked only after a failure, so nobody who shows a good token waits for it or is refused by it.

    While Redis is away each worker counts alone, and takes up the common count when it is back.
    """

    def __init__(self, link: RedisLink | None, *, limit: int, clock: Callable[[], float] = time.time) -> None:
        """`limit` failures of an address in a minute are answered as what they are; 0: any number. `clock`: Unix s."""
        self._link = link
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()  # guards _counts: order and content change together
        self._counts: OrderedDict[tuple[str, int], int] = OrderedDict()

    def note(self, address: str | None) -> float | None:
        """Count one failure. None while there are few; else the seconds until they are forgotten."""
        if not self._limit:
            return None
        now = self._clock()
        window = (network_of(address), int(now // WINDOW))
        count = self._count_here(window)
        if count <= self._limit:  # beyond it the answer is known, and a flood is not passed on to Redis
            self._at_least(window, count := max(count, self._count_shared(window)))
        return None if count <= self._limit else WINDOW - now % WINDOW

    def _count_here(self, window: tuple[str, int]) -> int:
        with self._lock:
            count = self._counts.get(window, 0) + 1
            self._counts[window] = count
            self._counts.move_to_end(window)
            while len(self._counts) > _MAX_ADDRESSES:
                self._counts.popitem(last=False)
        return count

    def _at_least(self, window: tuple[str, int], count: int) -> None:
        with self._lock:
            self._counts[window] = max(count, self._counts.get(window, 0))

    def _count_shared(self, window: tuple[str, int]) -> int:
        link = self._link
        if link is None:
            return 0
        key = link.key(f"failed:{window[0]}:{window[1]}")
        try:
            count, _ = link.call(lambda client: _increment(client, key))
        except BusUnavailable:
            return 0
        return count


def _increment(client: Any, key: str) -> tuple[int, bool]:
    pipeline = client.pipeline(transaction=False)
    pipeline.incr(key)
    pipeline.expire(key, 2 * WINDOW)
    return cast("tuple[int, bool]", tuple(pipeline.execute()))


def network_of(address: str | None) -> str:
    """Whom an address stands for: itself, or the /64 of an IPv6 address, of which a host may use any."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(found), 64), strict=False).network_address)
        found = found.ipv4_mapped
    return str(found)
