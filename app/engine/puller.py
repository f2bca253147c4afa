"""The host's puller: fetch, compare with what was announced before the fetch, announce, write heads.json."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import structlog

from app.engine.vouched import EveryHead, Vouching
from app.errors import BusUnavailable, RepositoryUnavailable
from app.model import OF, RefKind, Refs
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


@dataclass(frozen=True, slots=True)
class Before:
    """What was announced before a fetch, None when nothing was, and the highest rev that was known by then."""

    told: Cursor | BusUnavailable | None
    seen: Rev | None

    @property
    def cursor(self) -> Cursor | None:
        """Raises BusUnavailable when nobody could say."""
        if isinstance(self.told, BusUnavailable):
            raise self.told
        return self.told

    @property
    def lost(self) -> bool:
        """Whether there is none, or less than there was."""
        return self.cursor is None or self.cursor.is_behind(self.seen)


class Telling:
    """What the pullers of a host share: where they tell, and what they have told. One in each worker.

    `lock` is held by whoever announces and writes: one repository at a time, and never while anybody fetches.
    `further` are the names of the further repositories.
    """

    def __init__(
        self,
        store: CursorStore,
        heads: HeadsFile,
        hints: Hints,
        installed: Callable[[], Cursor | None],
        further: Collection[str] = (),
    ) -> None:
        self.store = store
        self.hints = hints
        self.lock = threading.Lock()
        self.alone: LocalCursorStore | None = None
        self.suspected: set[str] = set()  # the repositories of which a head is not certain yet
        self.begun = False
        self._heads = heads
        self._installed = installed
        self._further = frozenset(further)
        self.state = self._read()

    def begin(self) -> None:
        """This worker pulls from now on: what another one has written down until now is what the host knows."""
        with self.lock:
            self.state, self.alone = self._read(), None
            self.suspected.clear()
        self.begun = True

    def _read(self) -> HostState | None:
        """Without repositories that there are no more."""
        state = self._heads.read()
        if state is None:
            return None
        return replace(state, further={name: each for name, each in state.further.items() if name in self._further})

    def read_shared(self) -> Cursor | BusUnavailable | None:
        """What is announced; None when nothing is, the error when nobody can say."""
        try:
            return self.store.read()
        except BusUnavailable as away:
            return away

    @property
    def seen(self) -> Rev | None:
        """The highest shared rev that this host knows of: written down, installed here from a word of another host, or
        seen by another worker that asks for help."""
        installed = self._installed()
        revs = [self.state.seen if self.state else None, self.hints.seen(), installed.rev if installed else None]
        return max((rev for rev in revs if rev and not rev.is_host_local), key=Rev.rank, default=None)

    def known(self) -> Cursor | None:
        """What this host knew last: written down after a fetch, or installed since from a word of another host."""
        written, installed = self.state.cursor if self.state else None, self._installed()
        if written is None or installed is None:
            return written or installed
        if written.rev.is_host_local or installed.rev.is_host_local:
            return written
        return installed if written.is_behind(installed.rev) else written

    def is_doubtful(self, now: Cursor) -> bool:
        """Whether `now` may be less than what this host's workers know: a head is not certain yet, and the numbering
        changes between all hosts and this one alone, so that no worker could see that it goes back."""
        written = self.state.cursor.rev if self.state else now.rev
        return bool(self.suspected) and written.is_host_local is not now.rev.is_host_local

    def carry_over(self, before: Cursor, is_mine: Callable[[str], bool]) -> None:
        """Redis is back: what this host has numbered alone of other repositories is told with the first that is.

        Only what follows from where Redis has it: who knows better was there before us.
        """
        alone = self.alone.read() if self.alone else None
        if alone is None and self.state is not None and self.state.cursor.rev.is_host_local:
            alone = self.state.cursor  # numbered by a puller before this one
        for label, head in alone.labels.items() if alone else ():
            standing = before.labels.get(label)
            before_it = {each.commit for each in head.former}
            if not is_mine(label) and standing and standing.commit != head.commit and standing.commit in before_it:
                self.store.announce(before, label, head)

    def write(self, state: HostState) -> None:
        self.state = state
        try:
            self._heads.write(state)
        except OSError as exc:
            log.error("heads.not_written", reason=exc.strerror)


class Puller:
    """`tick` is one unit of work; called by the one thread that holds the mirror's lock.

    `confirm_after` is in seconds: a head that does not descend from the former one (a forced push, or a Git replica
    that lags behind) is announced only when a second fetch, that much later, says the same. `pin_days` is how long
    commits stay readable that a forced push took away.
    """

    def __init__(
        self,
        repository: GitConfigBackend,
        telling: Telling,
        *,
        default_label: str | None,
        confirm_after: float,
        pin_days: float,
        on_history: OnHistory,
        on_fetched: OnFetched,
        vouching: Vouching | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._repository = repository
        self._telling = telling
        self._default_label = default_label
        self._confirm_after = confirm_after
        self._pin_days = pin_days
        self._tidy_at = clock() + TIDY_SECONDS
        self._on_history = on_history
        self._on_fetched = on_fetched
        self._vouching = vouching or EveryHead()
        self._withheld: Mapping[str, str] = {}
        self._clock = clock
        self._suspects: dict[str, tuple[str | None, float]] = {}

    def tick(self) -> Outcome:
        """Fetch once. Raises nothing that an unreachable Git or Redis causes."""
        telling = self._telling
        hint, seen, shared = telling.hints.last(), telling.seen, telling.read_shared()
        started = time.perf_counter()
        try:
            with span("git.fetch"):
                refs = self._repository.fetch(expecting=hint > self._answered(hint))
            known = telling.known() or (shared if isinstance(shared, Cursor) else None)
            refs, self._withheld = self._vouching.among(refs, self._of_mine(known))
        except RepositoryUnavailable as failure:
            self._on_fetched("failed", time.perf_counter() - started)
            log.warning("git.fetch_failed", reason=str(failure), **self._named)
            with telling.lock:
                if telling.state is not None:
                    telling.write(self._failed(telling.state, hint))
            return Outcome.FAILED
        self._on_fetched("ok", time.perf_counter() - started)
        with telling.lock:
            outcome = self._told(Before(shared, seen), refs, hint)
        if outcome is Outcome.UNCHANGED:
            self._tidy()
        return outcome

    def keep(self) -> None:
        """Write down what was announced since the last fetch, a rotation say: the last word of a lone worker."""
        telling = self._telling
        with telling.lock:
            now = telling.store.read()
            if telling.state is not None and now is not None:
                telling.write(replace(telling.state, cursor=now, seen=now.rev))

    def _told(self, before: Before, refs: Refs, hint: int) -> Outcome:
        """Announce what was fetched, and write it down."""
        telling = self._telling
        try:
            outcome, now = self._tell_everybody(before, refs)
        except BusUnavailable:
            outcome, now = self._tell_this_host(refs)
        (telling.suspected.add if outcome is Outcome.SUSPECT else telling.suspected.discard)(self.name)
        if now is not None and outcome is not Outcome.AGAIN and not telling.is_doubtful(now):
            seen = telling.seen if now.rev.is_host_local else now.rev
            telling.write(self._succeeded(HostState(now, None, seen, hint, self._withheld), telling.state))
        return outcome

    def _tell_everybody(self, before: Before, refs: Refs) -> tuple[Outcome, Cursor | None]:
        """Announce to all hosts. Raises BusUnavailable when Redis is away, or takes no writes."""
        telling, cursor = self._telling, before.cursor
        if cursor is None or before.lost:
            outcome = Outcome.MOVED if telling.store.seed(cursor, self._seed(cursor, refs)) else Outcome.AGAIN
        else:
            outcome = self._announce(telling.store, cursor, refs)
            telling.carry_over(cursor, self._is_mine)
        now, adopted = telling.store.read(), telling.store.in_use()
        telling.alone = None
        return outcome, replace(now, secrets=adopted) if now else None

    def _tell_this_host(self, refs: Refs) -> tuple[Outcome, Cursor | None]:
        """While Redis is away: the same heads, numbered by this host alone."""
        telling = self._telling
        if telling.alone is None:
            known = telling.known() or self._seed(None, refs)
            telling.alone = LocalCursorStore(replace(known, rev=Rev(host_epoch(), 1)))
        before = telling.alone.read()
        outcome = self._announce(telling.alone, before, refs) if before else Outcome.AGAIN
        return outcome, telling.alone.read()

    # What differs in a further repository

    #: Of the repository; "" of the configuration repository itself.
    name = ""

    def _is_mine(self, label: str) -> bool:
        return OF not in label

    def _of_mine(self, cursor: Cursor | None) -> Cursor | None:
        """The cursor as if there were no other repository."""
        return cursor

    def _answered(self, hint: int) -> int:
        """The last hint that a fetch has answered; `hint` itself before any has."""
        return self._telling.state.hint if self._telling.state else hint

    def _succeeded(self, state: HostState, former: HostState | None) -> HostState:
        return replace(state, further=former.further if former else {})

    def _failed(self, state: HostState, hint: int) -> HostState:
        return replace(state, git_failing_since=state.git_failing_since or now_text(), hint=hint)

    @property
    def _named(self) -> Mapping[str, str]:
        return {"repository": self.name} if self.name else {}

    @property
    def _prefix(self) -> str:
        return f"{self.name}{OF}" if self.name else ""

    def _standing_default(self, before: Cursor) -> str:
        """The default label of an announced cursor."""
        return before.default_label

    def _tidy(self) -> None:
        """In a quiet moment, about once an hour: let Git pack the mirror, and let go of commits pinned long ago."""
        if self._clock() >= self._tidy_at:
            self._tidy_at = self._clock() + TIDY_SECONDS
            try:
                self._repository.maintain(purge=self._repository.unpin_older_than(self._pin_days))
            except RepositoryUnavailable as failure:
                log.warning("git.not_tidied", reason=str(failure))

    def _announce(self, store: CursorStore, before: Cursor, refs: Refs) -> Outcome:
        moves = self._moves(before, refs)
        for move in moves:
            if move.rewrites is not None and not move.lags:
                self._pin(move.rewrites)  # before anybody is told: a client may go on asking for it by its id
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
        mine = self._telling.known()
        known = mine or before
        at = now_text()
        labels = {name: replace(head, seq=1) for name, head in known.labels.items() if OF in name} if known else {}
        for name, (kind, commit) in self._wanted(refs).items():
            standing = (known.labels.get(name) if known else None) or _NOWHERE
            head = standing if standing.commit == commit else standing.moved(kind, commit, at)
            labels[name] = replace(head, seq=1)
        default = self._default(known, refs)
        gone = default not in labels and default not in self._withheld
        if gone and known is not None and default in known.labels:
            labels[default] = replace(known.labels[default], seq=1)  # deleted on the remote, and served on
        secrets = {**(before.secrets if before else {}), **(mine.secrets if mine else {})}
        revs = [rev for rev in (self._telling.seen, before.rev if before else None) if rev]
        above = max(revs, key=Rev.rank).epoch if revs else ""
        return Cursor(Rev(new_epoch(above), 1), default, labels, secrets)

    def _default(self, known: Cursor | None, refs: Refs) -> str:
        """The setting, else what was resolved before (a remote that switches its HEAD moves nobody), else its HEAD."""
        return self._default_label or (known.default_label if known else "") or refs.default or "main"

    def _moves(self, before: Cursor, refs: Refs) -> list[_Move]:
        at = now_text()
        moves = []
        wanted = self._wanted(refs)
        for name, (kind, commit) in wanted.items():
            standing = before.labels.get(name, _NOWHERE)
            if standing.commit != commit:
                rewritten = standing.commit is not None and not self._repository.is_ancestor(standing.commit, commit)
                moved = standing.moved(kind, commit, at, rewritten=rewritten)
                lags = self._lags(standing, commit)
                moves.append(_Move(name, moved, standing.commit if rewritten else None, lags))
        for name, standing in before.labels.items():
            if self._is_mine(name) and name not in wanted and standing.commit is not None:
                if name == self._standing_default(before) and name.removeprefix(self._prefix) not in self._withheld:
                    log.error("git.default_label_deleted", label=name)
                    self._pin(standing.commit)  # it goes on being served, so Git must not collect it
                else:
                    moves.append(_Move(name, standing.moved(standing.kind, None, at), standing.commit))
        self._suspects = {move.label: self._suspects[move.label] for move in moves if move.label in self._suspects}
        return moves

    def _wanted(self, refs: Refs) -> Mapping[str, tuple[RefKind, str]]:
        """Every label of the repository, as it is announced; a branch hides a tag of the same name."""
        tags = {name: (RefKind.TAG, commit) for name, commit in refs.tags.items()}
        wanted = tags | {name: (RefKind.BRANCH, commit) for name, commit in refs.branches.items()}
        return {f"{self._prefix}{name}": each for name, each in wanted.items()}

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
            what = "rewritten" if move.head.commit else "deleted"
            self._on_history(what, move.label, move.rewrites, move.head.commit)

    def _pin(self, commit: str) -> None:
        try:
            self._repository.pin(commit)
        except RepositoryUnavailable as failure:  # a mirror that was made anew does not have it any more
            log.warning("git.not_pinned", commit=commit, reason=str(failure))


_NOWHERE = LabelHead(RefKind.BRANCH, None, 0, "")
