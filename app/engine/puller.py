"""The host's one puller: fetch, compare with what was announced before the fetch, announce, write heads.json."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from app.engine.vouched import EveryHead, Vouching
from app.errors import BusUnavailable, RepositoryUnavailable
from app.model import RefKind, Refs
from app.notify import (
    Cursor,
    CursorStore,
    HeadsFile,
    Hints,
    HostState,
    LabelHead,
    LocalCursorStore,
    Rev,
    host_epoch,
    new_epoch,
    now_text,
)
from app.observability import span
from app.repository import GitConfigBackend
from app.scheduler import Outcome

log = structlog.get_logger(__name__)

#: Told of what an auditor wants to know: ("rewritten" | "deleted", label, former commit, new commit or None).
OnHistory = Callable[[str, str, str, str | None], None]
OnFetched = Callable[[str, float], None]

TIDY_SECONDS = 3600.0
#: How long a remote may go on lacking an announced head before that head is held to be gone from it, in seconds.
LAG_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Move:
    label: str
    head: LabelHead
    rewrites: str | None  # the former commit, when the new one does not follow from it
    lags: bool = False  # it may be a replica's that does not know the announced head yet


class Puller:
    """`tick` is one unit of work; called by the one thread that holds the mirror's lock.

    `confirm_after` is in seconds: a head that does not descend from the former one (a forced push, or a Git replica
    that lags behind) is announced only when a second fetch, that much later, says the same. `pin_days` is how long
    commits stay readable that a forced push took away.
    """

    def __init__(
        self,
        repository: GitConfigBackend,
        store: CursorStore,
        heads: HeadsFile,
        hints: Hints,
        *,
        default_label: str | None,
        confirm_after: float,
        pin_days: float,
        on_history: OnHistory,
        on_fetched: OnFetched,
        installed: Callable[[], Cursor | None],
        vouching: Vouching | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._repository = repository
        self._store = store
        self._heads = heads
        self._hints = hints
        self._default_label = default_label
        self._confirm_after = confirm_after
        self._pin_days = pin_days
        self._tidy_at = clock() + TIDY_SECONDS
        self._on_history = on_history
        self._on_fetched = on_fetched
        self._installed = installed
        self._vouching = vouching or EveryHead()
        self._withheld: Mapping[str, str] = {}
        self._clock = clock
        self._state = heads.read()
        self._alone: LocalCursorStore | None = None
        self._suspects: dict[str, tuple[str | None, float]] = {}

    def tick(self) -> Outcome:
        """Fetch once. Raises nothing that an unreachable Git or Redis causes."""
        hint = self._hints.last()
        shared = self._read_shared()
        started = time.perf_counter()
        try:
            with span("git.fetch"):
                refs = self._repository.fetch(expecting=hint > (self._state.hint if self._state else hint))
            refs, self._withheld = self._vouching.among(
                refs, self._known() or (shared if isinstance(shared, Cursor) else None)
            )
        except RepositoryUnavailable as failure:
            self._on_fetched("failed", time.perf_counter() - started)
            log.warning("git.fetch_failed", reason=str(failure))
            self._remember_failure(hint)
            return Outcome.FAILED
        self._on_fetched("ok", time.perf_counter() - started)
        try:
            outcome, now = self._tell_everybody(shared, refs)
        except BusUnavailable:
            outcome, now = self._tell_this_host(refs)
        if now is not None and outcome is not Outcome.AGAIN and not self._is_doubtful(outcome, now):
            seen = self._seen if now.rev.is_host_local else now.rev
            self._write(HostState(now, None, seen, hint, self._withheld))
        if outcome is Outcome.UNCHANGED:
            self._tidy()
        return outcome

    def keep(self) -> None:
        """Write down what was announced since the last fetch, a rotation say: the last word of a lone worker."""
        now = self._store.read()
        if self._state is not None and now is not None:
            self._write(replace(self._state, cursor=now, seen=now.rev))

    def _read_shared(self) -> Cursor | BusUnavailable | None:
        """What is announced before the fetch; None when nothing is, the error when nobody can say."""
        try:
            return self._store.read()
        except BusUnavailable as away:
            return away

    def _tell_everybody(self, before: Cursor | BusUnavailable | None, refs: Refs) -> tuple[Outcome, Cursor | None]:
        """Announce to all hosts. Raises BusUnavailable when Redis is away, or takes no writes."""
        if isinstance(before, BusUnavailable):
            raise before
        if before is None or before.is_behind(self._seen):
            outcome = Outcome.MOVED if self._store.seed(before, self._seed(before, refs)) else Outcome.AGAIN
        else:
            outcome = self._announce(self._store, before, refs)
        now, adopted = self._store.read(), self._store.in_use()
        self._alone = None
        return outcome, replace(now, secrets=adopted) if now else None

    def _tell_this_host(self, refs: Refs) -> tuple[Outcome, Cursor | None]:
        """While Redis is away: the same heads, numbered by this host alone."""
        if self._alone is None:
            known = self._known() or self._seed(None, refs)
            self._alone = LocalCursorStore(replace(known, rev=Rev(host_epoch(), 1)))
        before = self._alone.read()
        outcome = self._announce(self._alone, before, refs) if before else Outcome.AGAIN
        return outcome, self._alone.read()

    def _tidy(self) -> None:
        """In a quiet moment, about once an hour: let Git pack the mirror, and let go of commits pinned long ago."""
        if self._clock() >= self._tidy_at:
            self._tidy_at = self._clock() + TIDY_SECONDS
            try:
                self._repository.maintain(purge=self._repository.unpin_older_than(self._pin_days))
            except RepositoryUnavailable as failure:
                log.warning("git.not_tidied", reason=str(failure))

    def _is_doubtful(self, outcome: Outcome, now: Cursor) -> bool:
        """Whether `now` may be less than what this host's workers know: a head is not certain yet, and the numbering
        changes between all hosts and this one alone, so that no worker could see that it goes back."""
        written = self._state.cursor.rev if self._state else now.rev
        return outcome is Outcome.SUSPECT and written.is_host_local is not now.rev.is_host_local

    @property
    def _seen(self) -> Rev | None:
        """The highest shared rev that this host knows of: written down, installed here from a word of another host, or
        seen by another worker that asks for help."""
        installed = self._installed()
        revs = [self._state.seen if self._state else None, self._hints.seen(), installed.rev if installed else None]
        return max((rev for rev in revs if rev and not rev.is_host_local), key=Rev.rank, default=None)

    def _known(self) -> Cursor | None:
        """What this host knew last: written down after a fetch, or installed since from a word of another host."""
        written, installed = self._state.cursor if self._state else None, self._installed()
        if written is None or installed is None:
            return written or installed
        if written.rev.is_host_local or installed.rev.is_host_local:
            return written
        return installed if written.is_behind(installed.rev) else written

    def _announce(self, store: CursorStore, before: Cursor, refs: Refs) -> Outcome:
        moves = self._moves(before, refs)
        certain = [move for move in moves if self._is_certain(move)]
        for move in certain:
            if not store.announce(before, move.label, move.head):
                return Outcome.AGAIN
            self._tell(move)
        if self._suspects.keys() - {move.label for move in moves if move.lags}:
            return Outcome.SUSPECT
        return Outcome.MOVED if certain else Outcome.UNCHANGED

    def _seed(self, before: Cursor | None, refs: Refs) -> Cursor:
        """A new epoch from what was just fetched; former heads and secrets' versions as far as this host knows them."""
        mine = self._known()
        known = mine or before
        at = now_text()
        labels: dict[str, LabelHead] = {}
        for name, (kind, commit) in _wanted(refs).items():
            standing = (known.labels.get(name) if known else None) or _NOWHERE
            head = standing if standing.commit == commit else standing.moved(kind, commit, at)
            labels[name] = replace(head, seq=1)
        default = self._default(known, refs)
        gone = default not in labels and default not in self._withheld
        if gone and known is not None and default in known.labels:
            labels[default] = replace(known.labels[default], seq=1)  # deleted on the remote, and served on
        secrets = {**(before.secrets if before else {}), **(mine.secrets if mine else {})}
        revs = [rev for rev in (self._seen, before.rev if before else None) if rev]
        above = max(revs, key=Rev.rank).epoch if revs else ""
        return Cursor(Rev(new_epoch(above), 1), default, labels, secrets)

    def _default(self, known: Cursor | None, refs: Refs) -> str:
        """The setting, else what was resolved before (a remote that switches its HEAD moves nobody), else its HEAD."""
        return self._default_label or (known.default_label if known else "") or refs.default or "main"

    def _moves(self, before: Cursor, refs: Refs) -> list[_Move]:
        at = now_text()
        moves = []
        wanted = _wanted(refs)
        for name, (kind, commit) in wanted.items():
            standing = before.labels.get(name, _NOWHERE)
            if standing.commit != commit:
                rewritten = standing.commit is not None and not self._repository.is_ancestor(standing.commit, commit)
                moved = standing.moved(kind, commit, at, rewritten=rewritten)
                lags = self._lags(standing, commit)
                moves.append(_Move(name, moved, standing.commit if rewritten else None, lags))
        for name, standing in before.labels.items():
            if name not in wanted and standing.commit is not None:
                if name == before.default_label and name not in self._withheld:
                    log.error("git.default_label_deleted", label=name)
                    self._pin(standing.commit)  # it goes on being served, so Git must not collect it
                else:
                    moves.append(_Move(name, standing.moved(standing.kind, None, at), standing.commit))
        self._suspects = {move.label: self._suspects[move.label] for move in moves if move.label in self._suspects}
        return moves

    def _lags(self, standing: LabelHead, commit: str) -> bool:
        """A remote that lacks the announced head and shows a former one is a replica that lags, most likely."""
        if standing.commit is None or self._repository.has(standing.commit):
            return False
        return any(former.commit == commit for former in standing.former)

    def _is_certain(self, move: _Move) -> bool:
        if move.rewrites is None:
            self._suspects.pop(move.label, None)
            return True
        commit, since = self._suspects.get(move.label, ("", 0.0))
        if commit != move.head.commit:
            self._suspects[move.label] = (move.head.commit, self._clock())
            return False
        if self._clock() - since < (LAG_SECONDS if move.lags else self._confirm_after):
            return False
        del self._suspects[move.label]
        return True

    def _tell(self, move: _Move) -> None:
        if move.rewrites is not None:
            self._pin(move.rewrites)
            what = "rewritten" if move.head.commit else "deleted"
            self._on_history(what, move.label, move.rewrites, move.head.commit)

    def _pin(self, commit: str) -> None:
        try:
            self._repository.pin(commit)
        except RepositoryUnavailable as failure:  # a mirror that was made anew does not have it any more
            log.warning("git.not_pinned", commit=commit, reason=str(failure))

    def _remember_failure(self, hint: int) -> None:
        if self._state is not None:
            since = self._state.git_failing_since or now_text()
            self._write(replace(self._state, git_failing_since=since, hint=hint))

    def _write(self, state: HostState) -> None:
        self._state = state
        try:
            self._heads.write(state)
        except OSError as exc:
            log.error("heads.not_written", reason=exc.strerror)


_NOWHERE = LabelHead(RefKind.BRANCH, None, 0, "")


def _wanted(refs: Refs) -> Mapping[str, tuple[RefKind, str]]:
    """Every label of the repository; a branch hides a tag of the same name."""
    tags = {name: (RefKind.TAG, commit) for name, commit in refs.tags.items()}
    return tags | {name: (RefKind.BRANCH, commit) for name, commit in refs.branches.items()}
