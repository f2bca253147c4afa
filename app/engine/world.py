"""What one worker has installed: heads, versions, and what is known to be wrong. One immutable value, swapped whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.model import RefKind, SecretPath, Stale
from app.notify import Announced, Cursor, LabelHead, Rev
from app.secrets import Known


@dataclass(frozen=True, slots=True)
class Head:
    """Where a label stands in this worker. `former` heads are the first candidates for a last good version.

    `rewritten`: it came here by a forced push, so this commit does not follow from the one before.
    """

    label: str
    kind: RefKind
    commit: str
    at: str
    former: tuple[Announced, ...] = ()
    rewritten: bool = False


@dataclass(frozen=True, slots=True)
class World:
    """The cursor as installed: all of `rev` can be read here. `stale` holds what touches every answer (git, behind)."""

    rev: Rev
    default_label: str
    heads: Mapping[str, Head] = field(default_factory=dict)
    secrets: Mapping[SecretPath, Known] = field(default_factory=dict)
    stale: tuple[Stale, ...] = ()


def cursor_of(world: World) -> Cursor:
    """What was installed, as what was announced; how often a label has moved is not known any more."""
    labels = {
        name: LabelHead(head.kind, head.commit, 1, head.at, head.former, head.rewritten)
        for name, head in world.heads.items()
    }
    return Cursor(world.rev, world.default_label, labels, world.secrets)


def world_of(cursor: Cursor, stale: tuple[Stale, ...]) -> World:
    heads = {
        name: Head(name, head.kind, head.commit, head.at, head.former, head.rewritten)
        for name, head in cursor.labels.items()
        if head.commit is not None
    }
    return World(cursor.rev, cursor.default_label, heads, cursor.secrets, stale)
