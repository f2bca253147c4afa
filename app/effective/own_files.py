"""Owns the files in which the repository speaks about the server: the known targets, and when changes are frozen."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.effective.reach import OWN_FOLDER
from app.errors import BadConfiguration
from app.model import NAME

TARGETS_FILE = f"{OWN_FOLDER}/targets.toml"
FREEZE_FILE = f"{OWN_FOLDER}/freeze.toml"
_WINDOW = frozenset({"from", "until", "envs", "reason"})


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which changes are frozen: `envs` None means all. Times have a time zone."""

    begin: datetime
    end: datetime
    envs: frozenset[str] | None
    reason: str

    def holds(self, envs: Iterable[str | None], now: datetime) -> bool:
        """Whether a change that concerns these envs (None: all of them) is frozen at `now`."""
        if not self.begin <= now < self.end:
            return False
        return any(self.envs is None or env is None or env in self.envs for env in envs)


def read_targets(data: bytes) -> frozenset[tuple[str, str]]:
    """`[targets]`, service = list of envs. Raises BadConfiguration."""
    content = _toml(TARGETS_FILE, data)
    table = content.get("targets")
    if set(content) != {"targets"} or not isinstance(table, dict):
        raise BadConfiguration(TARGETS_FILE, None, "holds one table, [targets], with a list of envs for each service")
    found = set()
    for service, envs in table.items():
        if not _are_names([service]) or not isinstance(envs, list) or not _are_names(envs):
            raise BadConfiguration(TARGETS_FILE, None, "each line is the name of a service with a list of envs")
        found |= {(service, env) for env in envs}
    return frozenset(found)


def read_freeze(data: bytes) -> tuple[Window, ...]:
    """`[[window]]`, each with `from` and `until` (with a time zone), `envs` (absent: all), `reason`.

    Raises BadConfiguration.
    """
    content = _toml(FREEZE_FILE, data)
    windows = content.get("window", [])
    if not set(content) <= {"window"} or not isinstance(windows, list):
        raise BadConfiguration(FREEZE_FILE, None, "holds windows, each as [[window]]")
    return tuple(_window(each) for each in windows)


def _window(table: Any) -> Window:
    if not isinstance(table, dict) or not set(table) <= _WINDOW:
        raise BadConfiguration(FREEZE_FILE, None, "a window has from, until, envs and reason")
    times = [table.get(name) for name in ("from", "until")]
    begin, end = (time if isinstance(time, datetime) and time.tzinfo else None for time in times)
    if begin is None or end is None or end <= begin:
        raise BadConfiguration(
            FREEZE_FILE, None, "from and until are times with a time zone, the first before the other"
        )
    envs, reason = table.get("envs"), table.get("reason", "")
    if (envs is not None and not _are_names(envs)) or not isinstance(reason, str):
        raise BadConfiguration(FREEZE_FILE, None, "envs is a list of names, reason a text")
    return Window(begin, end, None if envs is None else frozenset(envs), reason[:300])


def _are_names(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) and NAME.fullmatch(name) for name in names)


def _toml(path: str, data: bytes) -> Mapping[str, Any]:
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        raise BadConfiguration(path, None, "not valid TOML") from None
