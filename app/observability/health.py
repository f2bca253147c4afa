"""What each part of the server says of itself, gathered into one report."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

import structlog

from app.errors import ConfigServerError
from app.model import Json
from app.observability.redaction import printable, redact_text


class Condition(enum.StrEnum):
    """Ordered from best to worst."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


_SEVERITY = {condition: rank for rank, condition in enumerate(Condition)}


@dataclass(frozen=True, slots=True)
class PartState:
    """A part's own word: its condition and, for a reader, why. `since` (Unix seconds) if the part knows it itself."""

    condition: Condition
    detail: str = ""
    since: float | None = None


class Health:
    """Asks the registered parts. Thread-safe; a probe must answer at once, from memory."""

    def __init__(self, ready: Callable[[], bool], clock: Callable[[], float]) -> None:
        """`ready` tells whether there is a configuration to serve; `clock` gives Unix seconds."""
        self._ready = ready
        self._clock = clock
        self._probes: Mapping[str, Callable[[], PartState]] = MappingProxyType({})
        self._seen: dict[str, tuple[Condition, float]] = {}
        self._lock = threading.Lock()  # guards _seen, and the replacement of _probes

    def register(self, name: str, probe: Callable[[], PartState]) -> None:
        """Ask `probe` under `name` from now on; a second registration replaces the first."""
        with self._lock:
            self._probes = MappingProxyType({**self._probes, name: probe})

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here. A part that is down does not make the server unready by itself."""
        return self._ready()

    def report(self) -> dict[str, Json]:
        """`{status, ready, parts: {name: {status, since, detail?}}}`; status is that of the worst part."""
        states = {name: _asked(name, probe) for name, probe in self._probes.items()}
        worst = max((state.condition for state in states.values()), key=_SEVERITY.__getitem__, default=Condition.OK)
        parts: dict[str, Json] = {name: self._told(name, state) for name, state in states.items()}
        return {"status": worst.value, "ready": self.ready, "parts": parts}

    def _told(self, name: str, state: PartState) -> dict[str, Json]:
        since = datetime.fromtimestamp(self._since(name, state), UTC).isoformat(timespec="seconds")
        out: dict[str, Json] = {"status": state.condition.value, "since": since.replace("+00:00", "Z")}
        return {**out, "detail": printable(redact_text(state.detail), 200)} if state.detail else out

    def _since(self, name: str, state: PartState) -> float:
        """When this condition began: as the part says, else when a report first saw it."""
        with self._lock:
            condition, since = self._seen.get(name, (None, 0.0))
            if condition != state.condition:
                since = self._clock()
                self._seen[name] = (state.condition, since)
        return state.since if state.since is not None else since


def _asked(name: str, probe: Callable[[], PartState]) -> PartState:
    try:
        return probe()
    except ConfigServerError as error:  # its text is safe to show
        return PartState(Condition.DOWN, str(error))
    except Exception:  # noqa: BLE001 - a broken part must not hide the others; it is logged
        structlog.get_logger(__name__).exception("health probe failed", part=name)
        return PartState(Condition.DOWN, "the probe failed")
