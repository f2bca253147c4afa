"""Owns the file in which the repository says that some instances get another branch, and which ones those are."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from app.effective.reach import OWN_FOLDER
from app.errors import BadConfiguration
from app.model import LABEL, NAME

ROLLOUTS_FILE = f"{OWN_FOLDER}/rollouts.toml"
_FIELDS = frozenset({"service", "envs", "branch", "percent", "instances", "sticky"})
MAX_ROLLOUTS = 100


@dataclass(frozen=True, slots=True)
class Rollout:
    """A service, in `envs` (None: all), gets `branch` on the instances that a glob names, and on `percent` of all.

    Rollouts with the same `sticky` choose the same instances.
    """

    service: str
    envs: frozenset[str] | None
    branch: str
    percent: float
    instances: tuple[str, ...]
    sticky: str

    def covers(self, service: str, envs: Iterable[str]) -> bool:
        return service == self.service and (self.envs is None or self.envs.issuperset(envs))

    def chooses(self, instance: str) -> bool:
        """The same answer for the same instance, everywhere; who is among 5 percent is among 50 too."""
        if any(fnmatchcase(instance, glob) for glob in self.instances):
            return True
        if self.percent <= 0:
            return False
        digest = hashlib.sha256(f"{self.sticky}\0{instance}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8]) * 100 < self.percent * 2**64


def read_rollouts(data: bytes) -> tuple[Rollout, ...]:
    """`[[rollout]]`, each with `service`, `branch`, and `percent` or `instances` or both; the first that covers a
    target counts. Raises BadConfiguration."""
    try:
        content = tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        raise BadConfiguration(ROLLOUTS_FILE, None, "not valid TOML") from None
    listed = content.get("rollout", [])
    if not set(content) <= {"rollout"} or not isinstance(listed, list) or len(listed) > MAX_ROLLOUTS:
        raise BadConfiguration(ROLLOUTS_FILE, None, f"holds at most {MAX_ROLLOUTS} rollouts, each as [[rollout]]")
    return tuple(_rollout(each) for each in listed)


def _rollout(table: Any) -> Rollout:
    if not isinstance(table, Mapping) or not set(table) <= _FIELDS:
        raise _bad(f"a rollout has {', '.join(sorted(_FIELDS))} and nothing else")
    service, branch, envs = table.get("service"), table.get("branch"), table.get("envs")
    if not isinstance(service, str) or not NAME.fullmatch(service):
        raise _bad("service is the name of one")
    if not isinstance(branch, str) or not LABEL.fullmatch(branch):
        raise _bad("branch is the name of one")
    if envs is not None and not (_are_texts(envs) and all(NAME.fullmatch(env) for env in envs)):
        raise _bad("envs is a list of names")
    return Rollout(service, None if envs is None else frozenset(envs), branch, *_choice(table, branch))


def _choice(table: Mapping[str, Any], branch: str) -> tuple[float, tuple[str, ...], str]:
    percent, instances, sticky = table.get("percent", 0), table.get("instances", []), table.get("sticky", branch)
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
        raise _bad("percent is a number from 0 to 100")
    if not _are_texts(instances) or not all(0 < len(glob) <= 128 for glob in instances) or len(instances) > 100:
        raise _bad("instances is a list of at most 100 globs")
    if not isinstance(sticky, str) or len(sticky) > 128:
        raise _bad("sticky is a text")
    if "percent" not in table and not instances:
        raise _bad("give percent, instances, or both")
    return float(percent), tuple(instances), sticky


def _are_texts(listed: object) -> bool:
    return isinstance(listed, list) and all(isinstance(each, str) for each in listed)


def _bad(reason: str) -> BadConfiguration:
    return BadConfiguration(ROLLOUTS_FILE, None, reason)
