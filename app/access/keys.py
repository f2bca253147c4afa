"""Where verification keys come from, and the provider's JWKS that is kept fresh in the background.

A request never waits for a key: it is in memory, or the token does not verify.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from jwt import PyJWK

from app.access.fetch import checked_url, discovery_url, fetch_document, jwks_url_in
from app.access.jwk import KeySet, parse_jwks

Fetch = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """For health and metrics: usable keys, seconds since they were last confirmed (None: never), what is wrong now."""

    keys: int
    age_seconds: float | None
    problem: str | None


class Keys(Protocol):
    def key(self, kid: str | None, algorithm: str) -> PyJWK:
        """The key, from memory, bound to `algorithm`. Raises KeyError when there is none."""

    def status(self) -> KeyStatus: ...

    def start(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Loaded:
    keys: KeySet = field(default_factory=KeySet)
    at: float | None = None


class JwksKeys:
    """The keys that a provider publishes, refreshed by a thread of its own. Thread-safe."""

    def __init__(
        self,
        url: str | None = None,
        *,
        issuer: str | None = None,
        algorithms: Iterable[str],
        fetch: Fetch = fetch_document,
        refresh_seconds: float = 300,
        min_interval: float = 10,
        keep_seconds: float = 86_400,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        on_fetch: Callable[[bool], None] = lambda ok: None,
    ) -> None:
        """Keys at `url`, or where the discovery document of `issuer` says. Raises ValueError unless one is given.

        Refreshed every `refresh_seconds` (± 10 %). An unknown key id asks for a refresh, but there is at most one every
        `min_interval` seconds. Keys that could not be confirmed for `keep_seconds` verify nothing any more. `fetch`
        raises OSError or ValueError; `on_fetch` is told, in the thread, how each refresh went.
        """
        if (url is None) == (issuer is None):
            raise ValueError("give the key set's URL or the issuer to discover it from")
        self._url = checked_url(url) if url is not None else None
        self._issuer = issuer
        if issuer is not None:
            discovery_url(issuer)  # a wrong one is told now, not by the thread
        self._algorithms = tuple(algorithms)
        self._fetch = fetch
        self._refresh_seconds = refresh_seconds
        self._min_interval = min_interval
        self._keep_seconds = keep_seconds
        self._clock = clock
        self._jitter = jitter
        self._on_fetch = on_fetch
        # One thread ticks. What others read is one reference, swapped whole; what they write is one flag and one event.
        self._loaded = _Loaded()
        self._problem: str | None = "not fetched yet"
        self._wanted = False
        self._attempted: float | None = None
        self._next = 0.0
        self._failures = 0
        self._wake = threading.Event()
        self._tried = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def key(self, kid: str | None, algorithm: str) -> PyJWK:
        """See Keys. An unknown key id wakes the refresher, and is unknown all the same."""
        loaded = self._loaded
        if loaded.at is None or self._clock() - loaded.at > self._keep_seconds:
            raise KeyError("no keys that could be confirmed lately")
        if kid is not None and kid not in loaded.keys:
            self._wanted = True
            self._wake.set()
        return loaded.keys.find(kid, algorithm)

    def status(self) -> KeyStatus:
        loaded = self._loaded
        age = None if loaded.at is None else self._clock() - loaded.at
        if age is not None and age > self._keep_seconds:
            return KeyStatus(0, age, self._problem)
        return KeyStatus(len(loaded.keys), age, self._problem)

    def start(self, wait_seconds: float = 2.0) -> None:
        """Start the thread, and wait that long for its first try; without keys it goes on trying in the background."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="jwks-refresher", daemon=True)
            self._thread.start()
        self._tried.wait(wait_seconds)

    def close(self) -> None:
        """Stop the thread. A fetch under way ends within its own timeouts, and what it brings is still taken."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def tick(self) -> bool:
        """One unit of work: fetch if it is time to. Returns whether it did. For one caller at a time."""
        if self._attempted is not None and self._clock() < self._due():
            return False
        self._wanted = False
        self._failures += 1  # until it is known to be none
        try:
            self._load()
        except (OSError, ValueError) as error:
            self._problem = _problem(error)
            structlog.get_logger(__name__).warning("verification keys not refreshed", reason=self._problem)
        finally:
            self._attempted = self._clock()
            self._next = self._attempted + self._pause()
        self._on_fetch(self._failures == 0)
        return True

    def _load(self) -> None:
        url = self._url
        if url is None:
            assert self._issuer is not None
            url = jwks_url_in(self._fetch(discovery_url(self._issuer)), self._issuer)
        keys = parse_jwks(self._fetch(url), self._algorithms)
        # A good answer is the truth even where it is empty: the provider may be withdrawing its keys.
        self._loaded = _Loaded(keys, self._clock())
        self._failures = 0
        self._problem = None if len(keys) else "the provider publishes no usable key"

    def _pause(self) -> float:
        """Seconds until the next fetch of its own accord. Before the first keys it is in a hurry, after it is not."""
        if self._failures == 0:
            return self._refresh_seconds * (0.9 + 0.2 * self._jitter())
        first = 1.0 if self._loaded.at is None else self._min_interval
        longest = self._min_interval if self._loaded.at is None else self._refresh_seconds
        pause = min(first * 2.0 ** min(self._failures - 1, 16), longest)
        return max(pause * (0.5 + 0.5 * self._jitter()), first)

    def _due(self) -> float:
        assert self._attempted is not None
        return min(self._next, self._attempted + self._min_interval) if self._wanted else self._next

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self.tick()
            except Exception:  # noqa: BLE001 - a thread's loop: whatever it is, the next try is not given up
                structlog.get_logger(__name__).exception("verification keys not refreshed")
            self._tried.set()
            self._wake.wait(max(0.0, self._due() - self._clock()))
            self._wake.clear()


def _problem(error: Exception) -> str:
    """Why, without the addresses that the texts of network errors hold."""
    if isinstance(error, OSError):
        return f"the provider cannot be reached ({type(error).__name__})"
    return str(error)
