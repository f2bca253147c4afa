"""A plan: what a change would do to every target, as values and as what is answered. Secrets are masked in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from app.aside import in_slices
from app.effective import leaf_nodes
from app.errors import BadConfiguration, ConfigServerError, SecretRefused, code_of
from app.model import MASK, Effective, Json, Node, Target, Template

#: Beyond these an answer tells how many more there are.
MAX_CHANGES = 500
MAX_TARGETS = 1000
MAX_ALL_CHANGES = 10_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a target is at one tree: its configuration, or why there is none. `denied` are the keys whose references
    the path policy would refuse; they are a `failure` where secrets are filled in."""

    effective: Effective | None
    failure: ConfigServerError | None = None
    denied: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """One target, before and after; `instances` is how many streams follow it now."""

    target: Target
    before: Outcome
    after: Outcome
    instances: int

    @property
    def breaks(self) -> bool:
        """Whether it is served by its head now and would not be any more."""
        return self.after.failure is not None and self.before.failure is None

    @property
    def verdict(self) -> str:
        if self.after.failure is None:
            return "mended" if self.before.failure is not None else "ok"
        return "breaks" if self.breaks else "broken"

    def as_json(self, limit: int = MAX_CHANGES) -> dict[str, Json]:
        changes = list(_changes(self.before.effective, self.after.effective))
        body: dict[str, Json] = {
            "service": self.target.service,
            "env": self.target.env,
            "verdict": self.verdict,
            "changes": [*changes[:limit]],
            "instances": self.instances,
        }
        if len(changes) > limit:
            body["more_changes"] = len(changes) - limit
        if self.after.failure is not None:
            body["problem"] = problem_of(self.after.failure)
        if self.after.denied:
            body["denied"] = list(self.after.denied)
        return body


@dataclass(frozen=True, slots=True)
class Plan:
    """`id` stands for the base head, the edits and their outcome: another plan has another. `files` maps each path to
    `add`, `change` or `delete`; `untouched` are those who have one of them among their inputs, and would not differ."""

    id: str
    label: str
    head: str
    files: Mapping[str, str]
    targets: tuple[TargetPlan, ...]
    skipped: tuple[str, ...] = ()
    untouched: tuple[Target, ...] = ()

    @property
    def broken(self) -> tuple[str, ...]:
        return tuple(each.target.topic for each in self.targets if each.breaks)

    def as_json(self, sees: Callable[[Target], bool], sees_file: Callable[[str], bool]) -> dict[str, Json]:
        """As somebody may see it: of the rest there is a number, which does not tell whether they would differ."""
        shown = [each for each in self.targets if sees(each.target)]
        files: list[Json] = [{"path": path, "op": op} for path, op in self.files.items() if sees_file(path)]
        return {
            "id": self.id,
            "label": self.label,
            "head": self.head,
            "files": files,
            "skipped": [path for path in self.skipped if sees_file(path)],
            "targets": list(_told(shown[:MAX_TARGETS])),
            "breaks": [each.target.topic for each in shown if each.breaks],
            "instances": sum(each.instances for each in shown),
            "hidden": len(self.targets)
            - len(shown[:MAX_TARGETS])
            + sum(not sees(target) for target in self.untouched)
            + len(self.files)
            - len(files),
        }


def _told(plans: Iterable[TargetPlan]) -> Iterator[Json]:
    left = MAX_ALL_CHANGES
    for plan in in_slices(plans):
        told = plan.as_json(min(left, MAX_CHANGES))
        left -= len(told["changes"]) if isinstance(told["changes"], list) else 0
        yield told


def problem_of(failure: ConfigServerError) -> dict[str, Json]:
    told: dict[str, Json] = {"type": code_of(failure), "detail": str(failure)}
    if isinstance(failure, BadConfiguration):
        told |= {"file": failure.path, "line": failure.line, "reason": failure.reason}
        told |= {name: getattr(failure, name) for name in ("schema", "key") if hasattr(failure, name)}
    if isinstance(failure, SecretRefused):
        told |= {"keys": list(failure.keys)}
    return told


def _changes(before: Effective | None, after: Effective | None) -> Iterator[dict[str, Json]]:
    """Per key what it was and will be, with origins. Where one side has no configuration nothing is compared."""
    if before is None or after is None:
        return
    old, new = dict(leaf_nodes(before.values)), dict(leaf_nodes(after.values))
    for key in dict.fromkeys((*new, *old)):
        if key in old and key in new and _same(old[key], new[key]):
            continue
        change: dict[str, Json] = {"key": key, "op": _op(key in old, key in new)}
        for name, side, leaves in (("old", before, old), ("new", after, new)):
            if key in leaves:
                change[name] = MASK if isinstance(leaves[key], Template) else _shown(leaves[key])
                change[f"{name}_origin"] = str(side.origins[key])
        yield change


def _op(before: bool, after: bool) -> str:
    return "replace" if before and after else "add" if after else "remove"


def _same(one: Node, other: Node) -> bool:
    return type(one) is type(other) and one == other


def _shown(leaf: Node) -> Json:
    """A leaf is a scalar, or a map or list that is empty."""
    if isinstance(leaf, dict):
        return {}
    return [] if isinstance(leaf, list) else leaf if not isinstance(leaf, Template) else MASK
