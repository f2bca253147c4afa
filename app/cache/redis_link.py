"""The one way to Redis (or Valkey): short timeouts, no retries, and left alone for a while after it failed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.errors import BusUnavailable

T = TypeVar("T")

log = structlog.get_logger(__name__)

SCHEMA = 1
#: Linux: give up on a peer that acknowledges nothing for this long (tcp(7)). Finds a half-open link in seconds.
_TCP_USER_TIMEOUT, _USER_TIMEOUT_MS = 18, 10_000
_KEEPALIVE = {
    _TCP_USER_TIMEOUT: _USER_TIMEOUT_MS,
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 3,
}


class RedisLink:
    """Thread-safe. Every call takes at most about `timeout` seconds, and none for `pause` seconds after a failure.

    redis-py's own defaults would retry for up to 58 s against a hung server; a request cannot wait for that.
    """

    def __init__(
        self, url: str, *, namespace: str, timeout: float, pause: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._prefix = f"{{cfg:{namespace}}}:{SCHEMA}:"
        self._timeout = timeout
        self._pause = pause
        self._clock = clock
        self._url = url
        self._client = self._connect(timeout)
        self._down_until = 0.0
        self._failing = False
        self._lock = threading.Lock()  # guards _down_until and _failing

    def key(self, name: str) -> str:
        """The full name of a key or channel: namespaced, versioned, and in one slot of a Redis Cluster."""
        return self._prefix + name

    @property
    def up(self) -> bool:
        return not self._failing

    def call(self, command: Callable[[redis.Redis], T]) -> T:
        """Run `command` on a pooled connection. Raises BusUnavailable; a pause after a failure fails at once.

        A refusal (out of memory, read-only, no permission) is an answer: it fails this command and no other.
        """
        if self._clock() < self._down_until:
            raise BusUnavailable("Redis does not answer", retry_after=self._pause)
        try:
            result = command(self._client)
        except redis.ResponseError as exc:
            self._note(failed=False)
            log.warning("redis.refused", error=type(exc).__name__)
            raise BusUnavailable("Redis refuses", retry_after=self._pause) from exc
        except (redis.RedisError, OSError) as exc:
            self._note(failed=True)
            raise BusUnavailable("Redis does not answer", retry_after=self._pause) from exc
        self._note(failed=False)
        return result

    def listener(self, read_timeout: float) -> redis.Redis:
        """A client of its own for pub/sub: its reads block for longer than a request's may."""
        return self._connect(read_timeout)

    def close(self) -> None:
        self._client.close()

    def _note(self, *, failed: bool) -> None:
        if failed or self._failing:
            with self._lock:
                self._failing = failed
                self._down_until = self._clock() + self._pause if failed else 0.0

    def _connect(self, read_timeout: float) -> redis.Redis:
        options: dict[str, Any] = {
            "socket_timeout": read_timeout,
            "retry": Retry(NoBackoff(), 0),
            "decode_responses": False,
            "max_connections": 64,
            "timeout": self._timeout,
        }
        if not self._url.startswith("unix:"):
            options |= {
                "socket_connect_timeout": self._timeout,
                "socket_keepalive": True,
                "socket_keepalive_options": _KEEPALIVE,
            }
        # from_pool: closing this client closes its connections too.
        return redis.Redis.from_pool(redis.BlockingConnectionPool.from_url(self._url, **options))
