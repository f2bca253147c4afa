"""What workers and hosts share of parsed configuration: by content, under an HMAC, never a secret."""

from __future__ import annotations

import hashlib
import hmac
from typing import Protocol

from app.cache.redis_link import RedisLink
from app.errors import BusUnavailable

_MAC_BYTES = 32


class SharedCache(Protocol):
    """`key` names the content it stands for; a value is opaque bytes. Never raises: a cache may always be absent."""

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, value: bytes) -> None: ...


class NoSharedCache:
    """Without Redis every worker parses for itself."""

    def get(self, key: str) -> bytes | None:
        return None

    def put(self, key: str, value: bytes) -> None:
        return None


class RedisSharedCache:
    """In Redis for `ttl` seconds. Who can write to Redis still cannot make us serve what we did not compute."""

    def __init__(self, link: RedisLink, *, mac_key: bytes, ttl: int = 86_400) -> None:
        self._link = link
        self._mac_key = mac_key
        self._ttl = ttl

    def get(self, key: str) -> bytes | None:
        try:
            stored = self._link.call(lambda client: client.get(self._link.key(f"effective:{key}")))
        except BusUnavailable:
            return None
        if not isinstance(stored, bytes):
            return None
        mac, value = stored[:_MAC_BYTES], stored[_MAC_BYTES:]
        return value if hmac.compare_digest(mac, self._mac(key, value)) else None

    def put(self, key: str, value: bytes) -> None:
        stored = self._mac(key, value) + value
        try:
            self._link.call(lambda client: client.set(self._link.key(f"effective:{key}"), stored, ex=self._ttl))
        except BusUnavailable:
            return

    def _mac(self, key: str, value: bytes) -> bytes:
        """Over both; the key goes in by its digest, of fixed length, so that neither can end inside the other."""
        return hmac.digest(self._mac_key, hashlib.sha256(key.encode()).digest() + value, hashlib.sha256)
