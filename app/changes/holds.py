"""Holds: a label is served at a former commit for a while, on all hosts, without a push. For when Git is down."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from app.audit import AuditEvent, Outcome
from app.changes.planner import Planner
from app.engine import ConfigEngine, Head
from app.errors import BadInput, Overloaded, RepositoryUnavailable
from app.model import Principal
from app.notify import CursorStore, Hold, Rev, now_text
from app.repository import GitConfigBackend

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Who:
    """Who asks, for the trail."""

    principal: Principal
    request_id: str | None = None
    address: str | None = None


class Holds:
    """Thread-safe. `record` is durable; `hint` asks for a fetch, after which a lone host has the hold on its disk;
    `patience` (seconds) is how long the answer waits until it is installed here."""

    def __init__(
        self,
        engine: ConfigEngine,
        planner: Planner,
        repository: GitConfigBackend,
        store: CursorStore,
        *,
        record: Callable[[AuditEvent], None],
        hint: Callable[[], object],
        patience: float,
    ) -> None:
        self._engine = engine
        self._planner = planner
        self._repository = repository
        self._store = store
        self._record = record
        self._hint = hint
        self._patience = patience

    def hold(self, who: Who, label: str | None, commit: str, *, seconds: float, reason: str) -> tuple[Hold, Rev | None]:
        """Serve the branch at `commit`, a label or id of a commit that it has been at, for so long.

        The rev is None while this worker has not installed it. Raises BadInput, UnknownLabel, AuditUnavailable,
        BusUnavailable, RepositoryUnavailable, Overloaded.
        """
        world = self._engine.world
        head = self._planner.branch(world, label)
        found = self._planner.commit(world, commit, "commit")
        former = {each.commit for each in head.former}
        if found not in former and not self._repository.is_ancestor(found, head.commit):
            raise BadInput("commit", "is not a commit that the branch has been at")
        hold = Hold(found, time.time() + seconds, now_text(), reason)
        self._record(_event(who, "label.hold", head, found, f"for {seconds:g} s: {reason}"))
        return hold, self._announced(head, hold)

    def release(self, who: Who, label: str | None) -> Rev | None:
        """Serve the branch where it stands. Raises as `hold` does, BadInput when it is not held."""
        head = self._planner.branch(self._engine.world, label)
        if head.hold is None:
            raise BadInput("label", "is not held")
        self._record(_event(who, "label.release", head, head.commit, f"was held at {head.hold.commit[:12]}"))
        return self._announced(head, None)

    def _announced(self, head: Head, hold: Hold | None) -> Rev | None:
        for _ in range(_ATTEMPTS):
            cursor = self._store.read()
            standing = cursor.labels.get(head.label) if cursor else None
            if cursor is None or standing is None:
                raise RepositoryUnavailable("nothing is announced of this branch yet")
            self._store.announce(cursor, head.label, replace(standing, hold=hold))
            after = self._store.read()  # the branch may have moved just then, and be what it was but for the hold
            if after is not None and head.label in after.labels and after.labels[head.label].hold == hold:
                break
        else:
            raise Overloaded("the branch moves faster than it can be held")
        self._hint()
        world = self._engine.wait_until(lambda each: each.holds.get(head.label) == hold, self._patience)
        return world.rev if world else None


def _event(who: Who, action: str, head: Head, version: str, detail: str) -> AuditEvent:
    return AuditEvent(
        action,
        Outcome.ALLOWED,
        request_id=who.request_id,
        subject=who.principal.subject,
        issuer=who.principal.issuer,
        target=head.label,
        version=version,
        address=who.address,
        detail=detail,
    )
