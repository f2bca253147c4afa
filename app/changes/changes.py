"""Makes changes: planned on the branch's head, allowed, recorded, pushed, recorded again, and installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog

from app.audit import AuditEvent, Outcome
from app.changes import restore
from app.changes.intents import Intent, Intents
from app.changes.leave import Leave
from app.changes.plan import Plan
from app.changes.planner import Planner
from app.changes.proposal import FileEdit, Proposal
from app.effective import Layout
from app.effective.own_files import FREEZE_FILE, read_freeze
from app.engine import ConfigEngine, Head, World
from app.errors import (
    AuditUnavailable,
    BadConfiguration,
    BadInput,
    ConfigServerError,
    Conflict,
    Forbidden,
    Frozen,
    NotOffered,
    RepositoryUnavailable,
    WouldBreak,
)
from app.model import Json, Principal, Target
from app.notify import Rev
from app.repository import Author, Draft, GitConfigBackend, GitWriter, HeadMoved, PushUncertain

log = structlog.get_logger(__name__)

#: So often a change is made anew on a head that moved while it was being pushed.
_ATTEMPTS = 4


class Record(Protocol):
    """AuditTrail.record."""

    def __call__(self, event: AuditEvent, *, durable: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants a change, on which branch (None: the default one), and what is to be written about it.

    `override` is the reason to go through a freeze.
    """

    principal: Principal
    label: str | None
    message: str
    override: str | None = None
    request_id: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """A commit that is at the origin. `rev` is None while this worker has not installed it yet."""

    commit: str
    label: str
    rev: Rev | None
    plan: Plan


#: Makes the proposal on a head; asked again when the head has moved. Raises Conflict when that matters.
_Make = Callable[[World, Head], Proposal]


class Changes:
    """Thread-safe. `writer` None: nothing may be pushed. `hint` asks for a fetch; `patience` is how long (seconds) a
    change waits until it is installed here; a push that was broken off may arrive within `settle_after` seconds."""

    def __init__(
        self,
        engine: ConfigEngine,
        repository: GitConfigBackend,
        planner: Planner,
        writer: GitWriter | None,
        *,
        leave: Leave,
        layout: Layout,
        intents: Intents,
        record: Record,
        hint: Callable[[], object],
        patience: float,
        settle_after: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._repository = repository
        self._planner = planner
        self._writer = writer
        self._leave = leave
        self._layout = layout
        self._intents = intents
        self._record = record
        self._hint = hint
        self._patience = patience
        self._settle_after = settle_after
        self._now = now

    # Looking

    def plan_edits(self, principal: Principal, label: str | None, edits: Sequence[FileEdit]) -> Plan:
        """What these edits would do on the branch's head. Raises Forbidden for a file of which nothing may be seen."""
        self._leave.check_look(principal, (each.path for each in edits))
        world = self._engine.world
        head = self._planner.branch(world, label)
        return self._planner.plan(world, head, self._planner.edited(head, edits))

    def plan_commit(self, label: str | None, commit: str) -> Plan:
        """What it would do if the branch stood at `commit` (a branch, a tag, or a reachable id)."""
        world = self._engine.world
        head = self._planner.branch(world, label)
        return self._planner.plan(
            world, head, self._planner.between(head, self._planner.commit(world, commit, "commit"))
        )

    def seen_by(self, principal: Principal, plan: Plan) -> dict[str, Json]:
        """The plan as this principal may see it."""
        sees, sees_file = self._leave.sees, self._leave.sees_file
        return plan.as_json(lambda target: sees(principal, target), lambda path: sees_file(principal, path))

    # Changing

    def change(self, order: Order, base: str, edits: Sequence[FileEdit]) -> Done:
        """Make the edits, which were thought of at the head `base`, and push them.

        Raises Conflict when a file of theirs has moved since, WouldBreak, Frozen, Forbidden, BadInput,
        BadConfiguration, PushRejected, RepositoryUnavailable, AuditUnavailable, NotOffered. Then nothing is changed.
        """
        self._must_write()
        self._leave.check_write(order.principal, (each.path for each in edits))

        def make(world: World, head: Head) -> Proposal:
            if self._has_moved(base, head, [each.path for each in edits]):
                raise self._conflict(order, world, head, edits)
            return self._planner.edited(head, edits)

        return self._made("config.change", order, make)

    def rollback(self, order: Order, to: str, scope: restore.Scope, confirm: str | None) -> Done | Plan:
        """Files as they were at `to`, by a new commit. The plan alone unless `confirm` is its id.

        Raises as `change` does; Conflict when the plan has another id by now.
        """
        self._leave.check_write(order.principal, scope.files)
        self._check_here(scope.service, ())

        def make(world: World, head: Head) -> Proposal:
            commit = self._planner.commit(world, to, "to")
            if not self._repository.is_ancestor(commit, head.commit):
                raise BadInput("to", "is not a commit that the branch has been at")
            before, after = self._planner.tree(head.commit), self._planner.tree(commit)
            return self._planner.checked(restore.restored(before, after, scope, self._layout))

        return self._confirmed("config.rollback", order, make, confirm)

    def promote(self, order: Order, service: str, envs: tuple[str, str], confirm: str | None) -> Done | Plan:
        """The files of a service's env made those of another, by a new commit. As `rollback`."""

        if not self._leave.sees(order.principal, Target(service, envs[:1], "")):
            raise Forbidden("no grant of this token covers the env to promote from")
        self._check_here(service, envs)

        def make(_world: World, head: Head) -> Proposal:
            return restore.promoted(self._planner.tree(head.commit), service, envs, self._layout)

        return self._confirmed("config.promote", order, make, confirm)

    def settle(self) -> None:
        """After a fetch: find out how pushes ended whose process died, or whose answer never came."""
        for path, intent in self._intents.abandoned():
            try:
                arrived = self._has_arrived(intent)
                if not arrived and self._now().timestamp() < intent.at + self._settle_after:
                    continue  # the process that pushes, or the remote, may be at it still
                self._record(_settled(intent, arrived), durable=True)
            except (AuditUnavailable, RepositoryUnavailable) as failure:
                log.warning("change.not_settled", commit=intent.commit, reason=str(failure))
                return  # the next fetch tries again
            path.unlink(missing_ok=True)

    def _has_arrived(self, intent: Intent) -> bool:
        tip = self._repository.refs().branches.get(intent.label)
        return tip is not None and self._repository.is_ancestor(intent.commit, tip)

    def _check_here(self, service: str | None, envs: tuple[str, ...]) -> None:
        """Raises NotOffered for a service that is read from a further repository: nothing is written there."""
        names = self._planner.elsewhere(service, envs or ("*",)) if service is not None else ()
        if names:
            raise NotOffered(
                f"{service} is read from {', '.join(names)}: this server writes to REPO_URL alone, push there"
            )

    def _must_write(self) -> GitWriter:
        if self._writer is None:
            raise NotOffered("this server has no credentials to write to the repository")
        return self._writer

    def _has_moved(self, base: str, head: Head, paths: Sequence[str]) -> bool:
        if base == head.commit:
            return False
        if not self._repository.is_ancestor(base, head.commit):
            return True
        moved = self._planner.moved(base, head.commit)
        return moved is None or not moved.isdisjoint(paths)

    def _conflict(self, order: Order, world: World, head: Head, edits: Sequence[FileEdit]) -> Conflict:
        plan = None
        with suppress(BadInput, BadConfiguration):  # the edit may make no sense any more: then there is no plan
            plan = self._planner.plan(world, head, self._planner.edited(head, edits))
        shown = self.seen_by(order.principal, plan) if plan else None
        return Conflict("a file of this change has moved since `base`", shown)

    def _confirmed(self, action: str, order: Order, make: _Make, confirm: str | None) -> Done | Plan:
        if confirm is None:
            world = self._engine.world
            head = self._planner.branch(world, order.label)
            proposal = make(world, head)
            self._leave.check_write(order.principal, proposal.files)
            return self._planner.plan(world, head, proposal)
        self._must_write()
        return self._made(action, order, make, confirm)

    def _made(self, action: str, order: Order, make: _Make, confirm: str | None = None) -> Done:
        for _ in range(_ATTEMPTS):
            world = self._engine.world
            head = self._planner.branch(world, order.label)
            proposal = make(world, head)
            plan = self._planned(world, head, proposal, order, confirm)
            try:
                commit = self._pushed(action, order, head, proposal)
            except HeadMoved:
                self._catch_up(head)
                continue
            return Done(commit, head.label, self._installed(head.label, commit), plan)
        raise Conflict("the branch moves faster than the change can follow")

    def _planned(self, world: World, head: Head, proposal: Proposal, order: Order, confirm: str | None) -> Plan:
        """The plan, if nothing stands against it."""
        self._leave.check_write(order.principal, proposal.files)
        plan = self._planner.plan(world, head, proposal)
        if confirm is not None and confirm != plan.id:
            raise Conflict("the plan is another one by now", self.seen_by(order.principal, plan))
        if not proposal.files:
            raise BadInput("edits", "change nothing")
        self._check_freeze(head, proposal, order)
        if plan.broken:
            raise WouldBreak(plan.broken, self.seen_by(order.principal, plan))
        return plan

    def _check_freeze(self, head: Head, proposal: Proposal, order: Order) -> None:
        blob = self._planner.tree(head.commit).blobs.get(FREEZE_FILE)
        if blob is None or order.override:
            return
        try:
            windows = read_freeze(self._planner.read(blob))
        except (BadConfiguration, BadInput) as bad:
            raise Frozen(f"{FREEZE_FILE} cannot be read, so everything is frozen: {bad}") from bad
        envs = {reach.env for path in proposal.files for reach in self._layout.reaches(path)} or {None}
        for window in windows:
            if window.holds(envs, self._now()):
                until = window.end.isoformat()
                raise Frozen(f"changes are frozen until {until}{f': {window.reason}' if window.reason else ''}")

    def _pushed(self, action: str, order: Order, head: Head, proposal: Proposal) -> str:
        author = Author(order.principal.subject, _email(order.principal))
        writer = self._must_write()
        with writer.drafted(head.commit, proposal.files, author=author, message=order.message) as draft:
            event = self._event(action, order, head, draft, proposal)
            with self._intents.open(Intent(draft.commit, head.label, event, self._now().timestamp())) as intent:
                self._push(writer, draft, head.label, event, intent)
        return draft.commit

    def _push(self, writer: GitWriter, draft: Draft, label: str, event: AuditEvent, intent: Path) -> None:
        """Nothing is pushed that is not on record; whatever happens then is on record too."""
        try:
            self._record(replace(event, action=f"{event.action}.begun"), durable=True)
        except AuditUnavailable:
            intent.unlink()
            raise
        try:
            writer.push(draft, label)
        except PushUncertain as unknown:  # the intent stays, for `settle` to find out
            self._conclude(replace(event, outcome=Outcome.FAILED, detail=str(unknown)))
            raise
        except ConfigServerError as failure:
            self._conclude(replace(event, outcome=Outcome.FAILED, detail=str(failure)))
            intent.unlink()
            raise
        self._conclude(event)
        intent.unlink()

    def _conclude(self, event: AuditEvent) -> None:
        """The change has happened, or has not: no full disk makes that undone, so the record may wait in memory."""
        try:
            self._record(event, durable=True)
        except AuditUnavailable:
            log.error("change.not_recorded", commit=event.version, outcome=event.outcome.value)
            self._record(event)

    def _event(self, action: str, order: Order, head: Head, draft: Draft, proposal: Proposal) -> AuditEvent:
        title = order.message.splitlines()[0][:200]
        override = f"; override: {order.override}" if order.override else ""
        return AuditEvent(
            action,
            Outcome.ALLOWED,
            request_id=order.request_id,
            subject=order.principal.subject,
            issuer=order.principal.issuer,
            target=head.label,
            version=draft.commit,
            keys=proposal.keys or tuple(proposal.files),
            address=order.address,
            detail=f"{title}{override}",
        )

    def _catch_up(self, head: Head) -> None:
        """Wait for the head that a push has met. Raises RepositoryUnavailable when it does not come."""
        self._hint()
        moved = self._engine.wait_until(lambda world: world.heads.get(head.label) != head, self._patience)
        if moved is None:
            raise RepositoryUnavailable("the branch has moved, and its new head cannot be fetched")

    def _installed(self, label: str, commit: str) -> Rev | None:
        self._hint()
        known: dict[str, bool] = {}

        def there(world: World) -> bool:
            head = world.heads.get(label)
            if head is None:
                return False
            if head.commit not in known:
                known[head.commit] = head.commit == commit or self._repository.is_ancestor(commit, head.commit)
            return known[head.commit]

        world = self._engine.wait_until(there, self._patience)
        return world.rev if world else None


def _settled(intent: Intent, arrived: bool) -> AuditEvent:
    found = "the branch has it" if arrived else "the branch does not have it"
    detail = f"{intent.event.detail}; looked at after the push was broken off: {found}"
    return replace(intent.event, outcome=Outcome.ALLOWED if arrived else Outcome.FAILED, detail=detail)


def _email(principal: Principal) -> str:
    return principal.subject if "@" in principal.subject else ""
