"""How many streams a client may hold, over all workers: each stream is a lease that must be renewed."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from app.cache import RedisLink
from app.errors import BusUnavailable

#: A lease that nobody renews ends after this many seconds, unless it is told another number: its worker has died.
LEASE_SECONDS = 60

_TAKE = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
if not redis.call('ZSCORE', KEYS[1], ARGV[2]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[4], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """One stream (`holder`, its connection id) of a client: `kind` is instance or subject, `name` its id."""

    kind: str
    name: str
    holder: str


class LeaseStore(Protocol):
    """Counts leases. Thread-safe. Never raises: while nobody can count, nobody is turned away."""

    def take(self, lease: Lease, limit: int) -> bool: ...

    def renew(self, leases: Iterable[Lease]) -> None: ...

    def release(self, lease: Lease) -> None: ...


class LocalLeases:
    """For one worker."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], set[str]] = {}
        self._lock = threading.Lock()  # guards _held

    def take(self, lease: Lease, limit: int) -> bool:
        with self._lock:
            holders = self._held.setdefault((lease.kind, lease.name), set())
            if lease.holder not in holders and len(holders) >= limit:
                return False
            holders.add(lease.holder)
            return True

    def renew(self, leases: Iterable[Lease]) -> None:
        return None

    def release(self, lease: Lease) -> None:
        with self._lock:
            holders = self._held.get((lease.kind, lease.name), set())
            holders.discard(lease.holder)
            if not holders:
                self._held.pop((lease.kind, lease.name), None)


class RedisLeases:
    """A sorted set per client: holder -> when its lease ends, `seconds` after it was taken or renewed."""

    def __init__(
        self, link: RedisLink, clock: Callable[[], float] = time.time, *, seconds: float = LEASE_SECONDS
    ) -> None:
        self._link = link
        self._clock = clock
        self._seconds = seconds
        self._key_seconds = math.ceil(2 * seconds)

    def take(self, lease: Lease, limit: int) -> bool:
        now = self._clock()
        arguments = (str(now), lease.holder, str(limit), str(now + self._seconds), str(self._key_seconds))
        try:
            return bool(self._link.call(lambda client: client.eval(_TAKE, 1, self._key(lease), *arguments)))
        except BusUnavailable:
            return True

    def renew(self, leases: Iterable[Lease]) -> None:
        until = self._clock() + self._seconds

        def all_of_them(client: object) -> None:
            pipeline = client.pipeline(transaction=False)  # type: ignore[attr-defined]  # a redis.Redis
            for lease in leases:
                pipeline.zadd(self._key(lease), {lease.holder: until})
                pipeline.expire(self._key(lease), self._key_seconds)
            pipeline.execute()

        self._quietly(all_of_them)

    def release(self, lease: Lease) -> None:
        self._quietly(lambda client: client.zrem(self._key(lease), lease.holder))  # type: ignore[attr-defined]

    def _quietly(self, command: Callable[[object], object]) -> None:
        try:
            self._link.call(command)
        except BusUnavailable:
            return  # leases end by themselves; they are taken again by the next stream

    def _key(self, lease: Lease) -> str:
        return self._link.key(f"leases:{lease.kind}:{hashlib.sha256(lease.name.encode()).hexdigest()[:32]}")
