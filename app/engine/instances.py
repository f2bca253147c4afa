"""Which clients are connected, what each has applied, and who is behind: records of presence beside what is now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.aside import in_slices
from app.engine.engine import ConfigEngine
from app.engine.world import World
from app.errors import BadInput, ConfigServerError
from app.model import Json, Target, View, checked_envs, checked_label, checked_service


@dataclass(frozen=True, slots=True)
class Instance:
    """One topic of one stream. `behind` is None of a client that has acknowledged nothing yet; `rollout` is the branch
    that it was chosen for."""

    target: Target
    record: Mapping[str, Any]
    applied: str | None
    behind: bool | None
    rejected: Mapping[str, Any] | None
    rollout: str | None

    def as_json(self) -> dict[str, Json]:
        names = ("instance", "version", "transport", "subject", "address", "since")
        ack = self.record["acks"].get(self.target.topic, {})
        return {
            "service": self.target.service,
            "env": self.target.env,
            "label": self.target.asked_label,
            "connection": self.record["id"],
            **{name: self.record.get(name) for name in names},
            "applied": self.applied,
            "rev": ack.get("rev"),
            "acknowledged": ack.get("at"),
            "behind": self.behind,
            "rollout": self.rollout,
            "rejected": {name: self.rejected.get(name) for name in ("etag", "reason", "at")} if self.rejected else None,
        }


def topic_target(topic: str) -> Target | None:
    """The target that a topic's text names; None for none."""
    service, _, rest = topic.partition("/")
    env, _, label = rest.partition("/")
    try:
        return Target(checked_service(service), checked_envs(env), checked_label(label))
    except BadInput:
        return None


class Instances:
    """Thread-safe. `records` are those of all workers."""

    def __init__(self, engine: ConfigEngine, records: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        self._engine = engine
        self._records = records

    def targets(self) -> set[Target]:
        """Every target that a client of any worker follows."""
        topics = {topic for record in self._records() for topic in record["topics"]}
        return {target for topic in topics if (target := topic_target(topic)) is not None}

    def all(self, world: World, is_wanted: Callable[[Target], bool]) -> list[Instance]:
        """By target, instance and connection."""
        known: dict[Target, tuple[frozenset[str], str]] = {}
        found: list[Instance] = []
        for record in in_slices(self._records()):
            for target in filter(None, map(topic_target, record["topics"])):
                if is_wanted(target):
                    given = world.routed(target, record.get("instance"))
                    if given not in known:
                        known[given] = self._known(world, given)
                    etags, candidate = known[given]
                    found.append(_instance(record, target, etags, candidate or None))
        return sorted(found, key=lambda each: (each.target.topic, each.record.get("instance") or "", each.record["id"]))

    def _known(self, world: World, target: Target) -> tuple[frozenset[str], str]:
        """The etags that a client may hold that is up to date, one for each view, and the branch if it is another."""
        try:
            head, located = self._engine.target(world, target.service, target.envs, target.label)
            resolution = self._engine.current(world, located, head).resolution
            return frozenset(map(resolution.etag_in, View)), resolution.target.candidate
        except ConfigServerError:
            return frozenset(), ""  # it cannot be served now: nobody can be behind it


def totals(instances: Iterable[Instance]) -> dict[str, Json]:
    known = list(instances)
    versions = Counter(str(each.record.get("version") or "") for each in known)
    return {
        "all": len(known),
        "behind": sum(each.behind is True for each in known),
        "rejected": sum(each.rejected is not None for each in known),
        "silent": sum(each.behind is None for each in known),
        "rollout": sum(each.rollout is not None for each in known),
        "versions": dict(sorted(versions.items())),
    }


def _instance(record: Mapping[str, Any], target: Target, etags: frozenset[str], rollout: str | None) -> Instance:
    ack = record["acks"].get(target.topic)
    if ack is None:
        return Instance(target, record, None, None, None, rollout)
    rejected = ack if ack["status"] == "rejected" else None
    applied = ack.get("applied") if rejected else ack["etag"]
    return Instance(target, record, applied, bool(etags) and applied not in etags, rejected, rollout)
