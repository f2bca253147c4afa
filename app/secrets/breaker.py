"""The circuit breaker: after a few failures in a row nobody asks for a while, then one asks for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Breaker:
    """Counts consecutive failures of one remote. Thread-safe.

    `failures` in a row open it for `open_seconds`. After that a single caller is let through as a probe; its success
    closes the breaker, its failure opens it again. `clock` gives seconds and never goes back.
    """

    def __init__(
        self, *, failures: int = 3, open_seconds: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._lock = threading.Lock()  # guards the three fields below
        self._failures = 0
        self._open_until: float | None = None
        self._probing = False

    def allow(self) -> bool:
        """Whether the caller may ask now. Who gets True must call `succeeded`, `failed` or `abandoned` afterwards."""
        with self._lock:
            if self._open_until is None:
                return True
            if self._probing or self._clock() < self._open_until:
                return False
            self._probing = True
            return True

    def succeeded(self) -> None:
        """The remote answered, be it with a refusal."""
        with self._lock:
            self._failures, self._open_until, self._probing = 0, None, False

    def failed(self) -> None:
        """The remote did not answer, or not sensibly."""
        with self._lock:
            self._failures += 1
            self._probing = False
            if self._failures >= self._limit:
                self._open_until = self._clock() + self._open_seconds

    def abandoned(self) -> None:
        """The caller gave up before it knew (it was killed): the next one may probe in its place."""
        with self._lock:
            self._probing = False

    @property
    def retry_after(self) -> float:
        """Seconds until asking makes sense; at least one, so that it can be a Retry-After header."""
        with self._lock:
            return max(1.0, (self._open_until or 0.0) - self._clock())

    @property
    def state(self) -> str:
        """`closed` (all may ask), `open` (none), or `half-open` (the next one, or one at this moment)."""
        with self._lock:
            if self._open_until is None:
                return "closed"
            return "open" if self._clock() < self._open_until else "half-open"
