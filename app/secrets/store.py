"""The secrets this process holds: each read once, kept for a while, and dropped the moment Vault refuses it."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from app.errors import SecretsUnavailable
from app.model import Json, Secret, SecretPath
from app.secrets.backend import SecretBackend, SecretDenied
from app.secrets.breaker import Breaker
from app.secrets.flight import SingleFlight

T = TypeVar("T")
#: What is held: the document, its version as it was asked for, and for which service, if that makes a difference.
_Key: TypeAlias = tuple[SecretPath, int | None, str | None]
#: Documents beside what they are held as (see `SecretStore.held`).
Held: TypeAlias = tuple[tuple[_Key, Secret], ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A document with the clock's seconds at which it must be read again, and at which it is useless even in need."""

    secret: Secret
    fresh_until: float
    usable_until: float


class SecretStore:
    """Secret documents per (path, version), in this process's memory alone. Thread-safe.

    `ttl` is how long (seconds) a document is served without asking Vault; `jitter` shortens it at random by up to that
    share. `grace` is how much longer it is served, marked stale, while Vault does not answer; 0 turns that off.
    `capacity` bounds the documents held. `per_service`: what was read for one service is never served to another, as
    Vault is asked with each service's own token. `digest_key` keys `digest`. `clock` never goes back, `wall` is Unix
    time.
    """

    def __init__(
        self,
        backend: SecretBackend,
        *,
        ttl: float,
        grace: float,
        digest_key: bytes,
        jitter: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        breaker: Breaker | None = None,
        capacity: int = 10_000,
        per_service: bool = False,
    ) -> None:
        self._backend = backend
        self._ttl = ttl
        self._grace = grace
        self._jitter = jitter
        self._digest_key = digest_key
        self._clock = clock
        self._wall = wall
        self._breaker = breaker or Breaker(clock=clock)
        self._capacity = capacity
        self.per_service = per_service
        self._random = random.SystemRandom()
        self._flights: SingleFlight[_Key, Secret] = SingleFlight()
        self._together: SingleFlight[tuple[_Key, ...], dict[SecretPath, Secret]] = SingleFlight()
        self._lock = threading.Lock()  # guards the four fields below; never held while Vault is asked
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()  # least recently used first
        self._known: OrderedDict[SecretPath, frozenset[str]] = OrderedDict()
        self._swept_at = clock()
        self._degraded_since: float | None = None

    def get(self, path: SecretPath, version: int | None, service: str | None = None) -> Secret:
        """The document: exactly `version`, or the latest for None. The returned Secret says which it is.

        `service` is for whom.

        For KV v1 the version is the caller's own counter: the data is what Vault has now, to be compared by `digest`.
        Raises SecretDenied, after which nothing of it is kept; SecretsUnavailable when Vault does not answer and
        nothing usable is held.
        """
        key = (path, version, service if self.per_service else None)
        return self._fresh(key) or self._flights.do(key, lambda: self._refreshed(key))

    def get_all(
        self,
        paths: Sequence[SecretPath],
        service: str | None,
        question: Callable[[], Mapping[SecretPath, Mapping[str, Json]]],
    ) -> dict[SecretPath, Secret]:
        """Documents that never change, which one question answers; it is put when one of them must be read again.

        What it does not answer is refused: dropped, and missing in what is returned; so is all of it after a
        SecretDenied. Raises SecretsUnavailable when Vault does not answer and one of them is not held.
        """
        keys = tuple((path, 1, service if self.per_service else None) for path in paths)
        return self._all_fresh(keys) or self._together.do(keys, lambda: self._all_refreshed(keys, question))

    def held(self, secrets: Iterable[Secret], service: str | None = None) -> Held | None:
        """These very documents, for `holds`; None when `get` would not give each of them without asking Vault."""
        whose = service if self.per_service else None
        found = tuple(((each.path, each.version or None, whose), each) for each in secrets)
        return found if self.holds(found) else None

    def holds(self, held: Held) -> bool:
        """Whether `get` would still give these very documents without asking Vault.

        Asked for every read; so without the lock: each look-up sees the entry as it was before or after a change.
        """
        now = self._clock()
        for key, secret in held:
            entry = self._entries.get(key)
            if entry is None or entry.secret is not secret or now >= entry.fresh_until:
                return False
        return True

    def ask(self, question: Callable[[], T]) -> T:
        """Run a question to the backend under the circuit breaker, and note whether Vault answers.

        Raises what the question raises, or SecretsUnavailable at once while the breaker is open.
        """
        if not self._breaker.allow():
            raise SecretsUnavailable("Vault does not answer; not asked again yet", self._breaker.retry_after)
        try:
            answer = question()
        except SecretDenied:
            self._answered()
            raise
        except SecretsUnavailable:
            self._unanswered()
            raise
        except BaseException:
            self._breaker.abandoned()
            raise
        self._answered()
        return answer

    def known(self, path: SecretPath, key: str) -> bool:
        """Whether this process has had a value for this key before, even if it was dropped since."""
        with self._lock:
            return key in self._known.get(path, ())

    def digest(self, data: Mapping[str, Json]) -> str:
        """A keyed digest of a document (HMAC-SHA256 over sorted JSON, 32 hex digits): equal for equal data."""
        text = json.dumps(dict(data), sort_keys=True, separators=(",", ":"))
        return hmac.new(self._digest_key, text.encode(), hashlib.sha256).hexdigest()[:32]

    def forget(self, path: SecretPath) -> None:
        """Drop the plaintext of every version of one document, for whomever it was read."""
        with self._lock:
            for key in [key for key in self._entries if key[0] == path]:
                del self._entries[key]

    def forget_all(self) -> None:
        """Drop all plaintext. What was `known` stays known: its names are no secret."""
        with self._lock:
            self._entries.clear()

    def sweep(self) -> int:
        """Drop what could not be served any more, and say how many; `get` does it too, once per TTL."""
        now = self._clock()
        with self._lock:
            dead = [key for key, entry in self._entries.items() if now >= entry.usable_until]
            for key in dead:
                del self._entries[key]
            self._swept_at = now
        return len(dead)

    def status(self) -> dict[str, Json]:
        """For health: `state` (ok or degraded), `since` (RFC 3339, or None), `breaker`, `documents` held."""
        with self._lock:
            since, documents = self._degraded_since, len(self._entries)
        return {
            "state": "ok" if since is None else "degraded",
            "since": None if since is None else datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "breaker": self._breaker.state,
            "documents": documents,
        }

    def _fresh(self, key: _Key) -> Secret | None:
        now = self._clock()
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or now >= entry.fresh_until:
                return None
            self._entries.move_to_end(key)
            return entry.secret

    def _refreshed(self, key: _Key) -> Secret:
        path, version, service = key
        if (fresh := self._fresh(key)) is not None:
            return fresh  # another flight landed between our look and our take-off
        try:
            data, found = self.ask(lambda: self._backend.read(path, version, service))
        except SecretDenied as denied:
            self._drop(key, denied.whole_path)
            raise
        except SecretsUnavailable:
            if (kept := self._in_grace(key)) is not None:
                return kept
            raise
        return self._keep(key, self._secret(path, version, data, found))

    def _all_fresh(self, keys: Sequence[_Key]) -> dict[SecretPath, Secret] | None:
        found = {key[0]: secret for key in keys if (secret := self._fresh(key)) is not None}
        return found if len(found) == len(keys) else None

    def _all_refreshed(
        self, keys: Sequence[_Key], question: Callable[[], Mapping[SecretPath, Mapping[str, Json]]]
    ) -> dict[SecretPath, Secret]:
        if (fresh := self._all_fresh(keys)) is not None:
            return fresh
        try:
            answered = self.ask(question)
        except SecretDenied:
            answered = {}
        except SecretsUnavailable:
            held = {key[0]: secret for key in keys if (secret := self._fresh(key) or self._in_grace(key)) is not None}
            if len(held) == len(keys):
                return held
            raise
        for key in keys:
            if key[0] not in answered:
                self._drop(key, whole_path=True)
        kept = (key for key in keys if key[0] in answered)
        return {key[0]: self._keep(key, self._secret(key[0], 1, answered[key[0]], 1)) for key in kept}

    def _secret(self, path: SecretPath, version: int | None, data: Mapping[str, Json], found: int) -> Secret:
        data = MappingProxyType(dict(data))
        if found:
            return Secret(path, found, data)
        return Secret(path, version or 0, data, digest=self.digest(data))

    def _keep(self, key: _Key, secret: Secret) -> Secret:
        now = self._clock()
        fresh_until = now + self._ttl * (1 - self._jitter * self._random.random())
        entry = _Entry(secret, fresh_until, fresh_until + self._grace)
        with self._lock:
            for filled in {key, (secret.path, secret.version, key[2]) if secret.version else key}:
                self._entries[filled] = entry
                self._entries.move_to_end(filled)
            while len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
            self._known[secret.path] = self._known.get(secret.path, frozenset()) | secret.data.keys()
            self._known.move_to_end(secret.path)
            while len(self._known) > self._capacity:
                self._known.popitem(last=False)
            due = now - self._swept_at > self._ttl
        if due:
            self.sweep()
        return secret

    def _in_grace(self, key: _Key) -> Secret | None:
        now = self._clock()
        with self._lock:
            entry = self._entries.get(key)
            return replace(entry.secret, stale=True) if entry and now < entry.usable_until else None

    def _drop(self, key: _Key, whole_path: bool) -> None:
        """What was read for other services stays: it is of them that Vault will say whether they may have it."""
        path, version, service = key
        with self._lock:
            for held in [held for held in self._entries if held[0] == path and held[2] == service]:
                if whole_path or held[1] == version:
                    del self._entries[held]

    def _answered(self) -> None:
        self._breaker.succeeded()
        with self._lock:
            self._degraded_since = None

    def _unanswered(self) -> None:
        self._breaker.failed()
        with self._lock:
            if self._degraded_since is None:
                self._degraded_since = self._wall()
