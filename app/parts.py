"""What /health tells of each part, and the small wrappers that measure one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from app.access import Issuers
from app.audit import AuditTrail
from app.cache import RedisLink
from app.engine import ConfigEngine
from app.model import Json, SecretPath, StaleReason
from app.observability import Condition, PartState, span
from app.secrets import SecretBackend, SecretDenied, SecretStore


class MeasuredBackend:
    """A SecretBackend whose reads are timed: `observe(outcome, seconds)`, outcome ok, denied or unavailable."""

    def __init__(self, backend: SecretBackend, observe: Callable[[str, float], None]) -> None:
        self._backend = backend
        self._observe = observe

    def read(self, path: SecretPath, version: int | None, service: str | None = None) -> tuple[Mapping[str, Json], int]:
        started = time.perf_counter()
        outcome = "unavailable"
        try:
            with span("vault.read"):
                answer = self._backend.read(path, version, service)
            outcome = "ok"
            return answer
        except SecretDenied:
            outcome = "denied"
            raise
        finally:
            self._observe(outcome, time.perf_counter() - started)

    def current_version(self, path: SecretPath) -> int:
        return self._backend.current_version(path)


def parts_of(
    engine: ConfigEngine,
    held_back: Callable[[], int],
    secrets: SecretStore | None,
    link: RedisLink | None,
    issuers: Issuers,
    trail: AuditTrail,
) -> Mapping[str, Callable[[], PartState]]:
    """A probe for each part; none of them asks anybody, so health answers at once whatever is down."""
    return {
        "git": lambda: _git(engine),
        "vault": lambda: _vault(secrets),
        "redis": lambda: _redis(link),
        "keys": lambda: _keys(issuers),
        "audit": lambda: PartState(Condition.OK) if trail.healthy else _degraded("the trail cannot be written"),
        "targets": lambda: _targets(held_back()),
    }


def _degraded(detail: str) -> PartState:
    return PartState(Condition.DEGRADED, detail)


def _git(engine: ConfigEngine) -> PartState:
    if not engine.ready:
        return PartState(Condition.DOWN, "nothing has been fetched yet")
    failing = next((each.since for each in engine.world.stale if each.reason is StaleReason.GIT), None)
    if failing:
        return _degraded(f"fetching fails since {failing}")
    further = sum(bool(each.stale) for each in engine.world.further.values())
    return _degraded(f"fetching fails of {further} further repositories") if further else PartState(Condition.OK)


def _vault(secrets: SecretStore | None) -> PartState:
    if secrets is None:
        return PartState(Condition.OK, "not configured")
    status = secrets.status()
    return PartState(Condition.OK) if status["state"] == "ok" else _degraded(f"no answer since {status['since']}")


def _redis(link: RedisLink | None) -> PartState:
    if link is None:
        return PartState(Condition.OK, "not configured")
    return PartState(Condition.OK) if link.up else _degraded("no answer")


def _keys(issuers: Issuers) -> PartState:
    states = [issuer.keys.status() for issuer in issuers]
    if any(state.keys == 0 for state in states):
        return PartState(Condition.DOWN, "no signing keys")
    problem = next((state.problem for state in states if state.problem), None)
    return _degraded(problem) if problem else PartState(Condition.OK)


def _targets(held_back: int) -> PartState:
    return _degraded(f"{held_back} held back") if held_back else PartState(Condition.OK)


def signatures_part(withheld: Mapping[str, str]) -> PartState:
    """Where commits must be signed: the labels that are not served where the remote has them."""
    count = len(withheld)
    return (
        _degraded(f"{count} not signed by an allowed signer; the log names them") if count else PartState(Condition.OK)
    )
