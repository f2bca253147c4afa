"""What differs between two configurations of a service, told without a secret: per key, and as a JSON Patch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from app.effective import changed_keys, leaf_nodes, mask, patch, sealed
from app.effective.diff import Operation
from app.engine.resolver import Resolution
from app.model import MASK, Json, Template


@dataclass(frozen=True, slots=True)
class KeyChange:
    """`change` is added, removed or changed. Values with a secret in them are masked; origins are file:line:column."""

    key: str
    change: str
    before: tuple[Json, str | None] | None
    after: tuple[Json, str | None] | None

    def as_json(self) -> dict[str, Json]:
        told: dict[str, Json] = {"key": self.key, "change": self.change}
        for name, side in (("from", self.before), ("to", self.after)):
            if side is not None:
                told[name], told[f"{name}_origin"] = side
        return told


def changes(before: Resolution, after: Resolution) -> list[KeyChange]:
    """Per leaf, in the order of `after`, then of `before`. A secret counts as changed with its reference or version."""
    keys = changed_keys(_marked(before), _marked(after))
    old, new = _leaves(before), _leaves(after)
    return [_change(key, old.get(key), new.get(key)) for key in keys]


def json_patch(before: Resolution, after: Resolution) -> list[Operation]:
    """RFC 6902, from the masked document of `before` to that of `after`; a changed secret is replaced by its mask."""
    return patch(_marked(before), _marked(after), mask(after.effective.values))


def _change(key: str, old: tuple[Json, str | None] | None, new: tuple[Json, str | None] | None) -> KeyChange:
    kind = "added" if old is None else "removed" if new is None else "changed"
    return KeyChange(key, kind, old, new)


def _marked(resolution: Resolution) -> dict[str, object]:
    versions = resolution.secrets.versions

    def mark(template: Template) -> object:
        return template, *(versions.get(reference.text) for reference in template.references)

    return sealed(resolution.effective.values, mark)


def _leaves(resolution: Resolution) -> Mapping[str, tuple[Json, str | None]]:
    origins = resolution.effective.origins
    return {
        key: (MASK if isinstance(node, Template) else cast("Json", node), str(origins[key]) if key in origins else None)
        for key, node in leaf_nodes(resolution.effective.values)
    }
