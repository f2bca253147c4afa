"""Finds out what is to be told outside, and has one worker of all tell it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from app.audit import AuditEvent, Outcome
from app.errors import BusUnavailable
from app.model import Json, Stale, Target
from app.notices.notice import Notice, notice
from app.notices.outbox import Outbox

log = structlog.get_logger(__name__)

#: Actions of the trail that are told when they have been done.
TOLD: Final = frozenset(
    {"config.change", "config.rollback", "config.promote", "label.hold", "label.release", "rollout.stopped"}
)
#: Names in one notice; how many there are in all is told too.
MAX_NAMES: Final = 200

#: Whether nobody has told the notice of this id yet; from now on somebody has. Raises BusUnavailable.
Claim = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Moved:
    """A branch or tag that stands elsewhere, is new (no `former`), or is gone (no `commit`), since `at`.

    `repository` is which further one it is of, "" for the configuration repository.
    """

    label: str
    former: str | None
    commit: str | None
    at: str
    rev: str
    repository: str = ""


class Notices:
    """Thread-safe. Every worker calls `moved`, `held_back` and `recorded` with what it sees; none of them blocks.

    `claim` decides who tells; `files` names what a move changes, None when that is not known.
    """

    def __init__(
        self,
        outboxes: Sequence[Outbox],
        claim: Claim,
        files: Callable[[Moved], Iterable[str] | None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._outboxes = tuple(outboxes)
        self._claim = claim
        self._files = files
        self._clock = clock
        self._found: queue.SimpleQueue[Callable[[], Notice] | None] = queue.SimpleQueue()
        self._held: Mapping[Target, Stale] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        for outbox in self._outboxes:
            outbox.start()
        self._thread = threading.Thread(target=self._run, name="notices-found", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._found.put(None)
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for outbox in self._outboxes:
            outbox.stop()
        for outbox in self._outboxes:
            outbox.close()

    def moved(self, move: Moved) -> None:
        if self._outboxes:
            self._found.put(lambda: self._moved(move))

    def held_back(self, held: Mapping[Target, Stale]) -> None:
        """All that is held back now; what was not before is told."""
        new = [(target, stale) for target, stale in held.items() if self._held.get(target) != stale]
        self._held = dict(held)
        for target, stale in new:
            self._put(_held_back(target, stale, self._clock()))

    def recorded(self, event: AuditEvent) -> None:
        """A record of the trail: one of what has been done is told."""
        if event.action in TOLD and event.outcome is Outcome.ALLOWED:
            self._put(_done(event, self._clock()))

    def _put(self, told: Notice) -> None:
        if self._outboxes:
            self._found.put(lambda: told)

    def _moved(self, move: Moved) -> Notice:
        where = (move.repository,) if move.repository else ()
        return notice(
            "label.moved",
            self._clock(),
            of=(*where, move.label, move.commit or move.former or "", move.at),
            repository=move.repository or None,
            label=move.label,
            commit=move.commit,
            former=move.former,
            rev=move.rev,
            **_names("files", self._files(move)),
        )

    def _run(self) -> None:
        while (make := self._found.get()) is not None:
            try:
                told = make()
                if self._is_ours(told):
                    for outbox in self._outboxes:
                        outbox.put(told)
            except Exception:  # the loop must outlive whatever a notice did not foresee; it is logged with its stack
                log.exception("notice.not_made")

    def _is_ours(self, told: Notice) -> bool:
        try:
            return self._claim(told.id)
        except BusUnavailable:
            return True  # then several workers may tell it: the id is the same


def _held_back(target: Target, stale: Stale, now: float) -> Notice:
    return notice(
        "target.held_back",
        now,
        of=(target.topic, stale.commit or "", stale.reason.value),
        service=target.service,
        env=target.env,
        label=target.candidate or target.asked_label,
        commit=stale.commit,
        reason=stale.reason.value,
        since=stale.since,
    )


def _done(event: AuditEvent, now: float) -> Notice:
    return notice(
        event.action,
        now,
        of=(event.target or "", event.version or "", event.request_id or ""),
        label=event.target,
        commit=event.version,
        subject=event.subject,
        request_id=event.request_id,
        **_names("keys", event.keys),
    )


def _names(kind: str, names: Iterable[str] | None) -> dict[str, Json]:
    known = sorted(names or ())
    shown: list[Json] = [*known[:MAX_NAMES]]
    return {kind: shown, f"{kind}_total": len(known)} if known else {}
