"""Brings the remote's heads and tags into the mirror: first clone, later fetches, and a new clone after damage."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from app.errors import RepositoryUnavailable
from app.repository import parse
from app.repository.commands import Commands
from app.repository.errors import GitFailed
from app.repository.mirror import MirrorDirectory

#: Heads and tags only, and never refs/*: a prune would then take our own refs with it.
_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_FETCH = ("fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
#: Where HEAD points while the remote does not tell a default branch.
_UNTOLD = "refs/untold"
#: So many fetches in a row fail, of a remote that answers, before the clone is held to be the cause.
_STRIKES = 3
_MORE_PATIENCE = 4


class Puller:
    """The only writer of the mirror; one per process, and used only while that process holds the MirrorLock.

    `timeout` and `clone_timeout` are in seconds. A fetch that is killed at `timeout` from a remote that does answer
    gets more time on the next attempt, up to `clone_timeout`, so that a big push arrives in the end.
    """

    def __init__(self, mirror: MirrorDirectory, commands: Commands, *, timeout: float, clone_timeout: float) -> None:
        self._mirror = mirror
        self._commands = commands
        self._timeout = timeout
        self._clone_timeout = clone_timeout
        self._lost: set[str] = set()  # added to by readers, who must not wait for a fetch: not under the lock
        # Guards the mirror's files against two of our own threads, and the fields below.
        self._lock = threading.Lock()
        self._patience = timeout
        self._strikes = 0
        self._cloned_for: set[str] = set()

    def fetch(self, *, expecting: bool = False) -> list[parse.LocalRef]:
        """Make the mirror equal to the remote. Two processes of ours when nothing is new.

        `expecting`: the caller has heard that something is new. Then it is fetched without asking whether, and that the
        remote has another default branch is seen the next time.
        """
        with self._writing():
            if not self._mirror.exists or self._lost - self._cloned_for:
                return self._clone()
            try:
                return self._update(self._mirror.current(), expecting=expecting)
            except GitFailed as failure:
                if not failure.damaged and self._strikes < _STRIKES:
                    raise
            return self._clone()

    def rebuild(self) -> list[parse.LocalRef]:
        """Clone anew beside the mirror, and take its place."""
        with self._writing():
            return self._clone()

    def report_lost(self, object_id: str) -> None:
        """An object that must be there cannot be read: the next fetch clones anew, once for each such object."""
        self._lost.add(object_id)

    def maintain(self, *, purge: bool) -> None:
        """Let Git pack what has piled up; it looks by itself whether that is worth it, but for a `purge`.

        Nobody else writes here, so that Git's grace for what is on its way to a branch is not needed.
        """
        how = "--prune=now" if purge else "--auto"
        with self._writing():
            try:
                self._commands.local("gc", how, "--quiet", timeout=self._clone_timeout)
            except GitFailed:
                self._mirror.remove_leftovers()
                raise

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except OSError as exc:
                raise RepositoryUnavailable(f"the clone cannot be written: {os.strerror(exc.errno or 0)}") from exc

    def _update(self, clone: Path, *, expecting: bool) -> list[parse.LocalRef]:
        if expecting and self._pulled_at_once(clone):
            refs = self._refs(clone)
            if any(ref.is_default for ref in refs):
                return refs
        told = self._ask(clone)
        refs = self._refs(clone)
        if told.ids != {ref.name: ref.id for ref in refs}:
            self._pull(clone)
            refs = self._refs(clone)
        return self._with_default(clone, told, refs)

    def _clone(self) -> list[parse.LocalRef]:
        lost = frozenset(self._lost)
        clone = self._mirror.new_clone()
        try:
            self._commands.local_in(clone, "init", "--quiet", "--bare", "--template=")
            told = self._ask(clone)  # within the short timeout: a remote that hangs is found out before the long one
            self._commands.network(clone, *_FETCH, "origin", *_REFSPECS, timeout=self._clone_timeout)
            refs = self._with_default(clone, told, self._refs(clone), first=True)
            self._take_over_pins(clone)
            self._mirror.install(clone)
        finally:
            self._mirror.remove_other_clones()
        self._cloned_for |= lost
        self._strikes = 0
        return refs

    def _take_over_pins(self, clone: Path) -> None:
        """Best effort: the former clone may be damaged just where the pins lead."""
        if self._mirror.exists:
            former = str(self._mirror.current())
            with contextlib.suppress(GitFailed):
                self._commands.network(clone, *_FETCH, "origin", "refs/pins/*:refs/pins/*", url=former)

    def _ask(self, clone: Path) -> parse.RemoteRefs:
        # The patterns are Git's, matched at the end of each name; what else they let through is dropped in parsing.
        output = self._commands.network(clone, "ls-remote", "--symref", "origin", "HEAD", "refs/heads/*", "refs/tags/*")
        return parse.remote_refs(output)

    def _pulled_at_once(self, clone: Path) -> bool:
        """False where Git refuses: the remote's refs will tell why. Raises GitFailed when none answers in time."""
        try:
            self._commands.network(clone, *_FETCH, "origin", *_REFSPECS, timeout=self._patience)
        except GitFailed as failure:
            self._mirror.remove_leftovers()
            if failure.timed_out:
                raise
            return False
        self._strikes = 0
        return True

    def _pull(self, clone: Path) -> None:
        try:
            self._commands.network(clone, *_FETCH, "origin", *_REFSPECS, timeout=self._patience)
        except GitFailed as failure:
            if failure.timed_out:
                self._patience = min(self._patience * _MORE_PATIENCE, self._clone_timeout)
            else:
                self._strikes += 1
            self._mirror.remove_leftovers()
            raise
        self._patience = self._timeout
        self._strikes = 0

    def _refs(self, clone: Path) -> list[parse.LocalRef]:
        return parse.local_refs(self._commands.local_in(clone, *FOR_EACH_REF).output)

    def _with_default(
        self, clone: Path, told: parse.RemoteRefs, refs: list[parse.LocalRef], *, first: bool = False
    ) -> list[parse.LocalRef]:
        """`refs` with the branch that the remote's HEAD stands on marked, in the clone too."""
        branch = f"{parse.HEADS}{told.default}"
        wanted = branch if branch in told.ids else _UNTOLD
        marked = next((ref.name for ref in refs if ref.is_default), _UNTOLD)
        if marked == wanted and not first:
            return refs
        self._commands.local_in(clone, "symbolic-ref", "HEAD", wanted)
        return self._refs(clone)


FOR_EACH_REF = ("for-each-ref", f"--format={parse.REF_FORMAT}", parse.HEADS, parse.TAGS)
