"""What /health tells of each part, and the small wrappers that measure one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from app.errors import SecretsUnavailable
from app.model import Json, SecretPath
from app.observability import Condition, PartState
from app.secrets import SecretBackend, SecretDenied

if TYPE_CHECKING:
    from app.services import Services


class MeasuredBackend:
    """A SecretBackend whose reads are timed: `observe(outcome, seconds)`, outcome ok, denied or failed."""

    def __init__(self, backend: SecretBackend, observe: Callable[[str, float], None]) -> None:
        self._backend = backend
        self._observe = observe

    def read(self, path: SecretPath, version: int | None) -> tuple[Mapping[str, Json], int]:
        started = time.perf_counter()
        outcome = "failed"
        try:
            answer = self._backend.read(path, version)
            outcome = "ok"
            return answer
        except SecretDenied:
            outcome = "denied"
            raise
        except SecretsUnavailable:
            raise
        finally:
            self._observe(outcome, time.perf_counter() - started)

    def current_version(self, path: SecretPath) -> int:
        return self._backend.current_version(path)


def parts_of(services: Services) -> Mapping[str, Callable[[], PartState]]:
    """A probe for each part; none of them asks anybody, so health answers at once whatever is down."""

    def git() -> PartState:
        if not services.engine.ready:
            return PartState(Condition.DOWN, "nothing has been fetched yet")
        reasons = {each.reason.value: each.since for each in services.engine.world.stale}
        since = reasons.get("git")
        return PartState(Condition.DEGRADED, f"fetching fails since {since}") if since else PartState(Condition.OK)

    def vault() -> PartState:
        if services.settings.vault_addr is None:
            return PartState(Condition.OK, "not configured")
        status = services.secrets.status()
        if status["state"] == "ok":
            return PartState(Condition.OK)
        return PartState(Condition.DEGRADED, f"does not answer since {status['since']}")

    def redis() -> PartState:
        link = services.link
        if link is None:
            return PartState(Condition.OK, "not configured")
        services.metrics.set_bus_up(up=link.up)
        return PartState(Condition.OK) if link.up else PartState(Condition.DEGRADED, "does not answer")

    def keys() -> PartState:
        states = [issuer.keys.status() for issuer in services.issuers]
        if any(state.keys == 0 for state in states):
            return PartState(Condition.DOWN, "no signing keys")
        problems = [state.problem for state in states if state.problem]
        return PartState(Condition.DEGRADED, problems[0]) if problems else PartState(Condition.OK)

    def audit() -> PartState:
        healthy = services.trail.healthy
        return PartState(Condition.OK) if healthy else PartState(Condition.DEGRADED, "the trail cannot be written")

    def targets() -> PartState:
        held = len(services.resolver.held_back())
        return PartState(Condition.DEGRADED, f"{held} held back") if held else PartState(Condition.OK)

    return {"git": git, "vault": vault, "redis": redis, "keys": keys, "audit": audit, "targets": targets}
