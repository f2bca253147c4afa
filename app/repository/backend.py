"""GitConfigBackend: the configuration repository, as a bare mirror of the remote's heads and tags."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from app.model import COMMIT, Blob, Commit, Refs, Tree
from app.repository import parse
from app.repository.commands import Commands
from app.repository.environment import GitCredentials, protocol_of, reader_environment
from app.repository.errors import BlobTooLarge, GitFailed, ObjectLost
from app.repository.history import LISTING, HistoryFile
from app.repository.mirror import MirrorDirectory
from app.repository.past import Step, steps_of
from app.repository.pins import Pins
from app.repository.puller import FOR_EACH_REF, Puller
from app.repository.reader import ObjectReader
from app.repository.signatures import Signature, Signatures

#: A commit object is a few hundred bytes; a message of this size is nobody's honest message.
_COMMIT_LIMIT = 1 << 20
#: So many commits back a former head is looked for before Git is asked.
_NEAR = 16


class GitConfigBackend:
    """Reads of every worker, and the pulling of the one that holds the MirrorLock.

    Opened lazily: nothing runs before the first use, so one may be made before a fork. All methods may be called from
    any thread or greenlet. `open`, `has`, `blob` and `commit` start no process once the reader runs; the others start
    one or two. Ids are 40 hex digits, else ValueError; nothing else reaches Git as a revision. Every method raises
    RepositoryUnavailable when there is no clone or Git fails.

    `directory`, and `directory`-history.db beside it, belong to this class alone. `timeout` bounds every command,
    `clone_timeout` the first clone and maintenance; both in seconds. `clock` gives Unix seconds. `allowed_signers`
    is the file by which signatures of commits are checked.
    """

    def __init__(
        self,
        url: str,
        directory: Path,
        *,
        credentials: GitCredentials,
        timeout: float,
        clone_timeout: float,
        allowed_signers: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        protocol_of(url)
        self._mirror = MirrorDirectory(directory)
        self._commands = Commands(url, self._mirror, credentials=credentials, timeout=timeout)
        self._reader = ObjectReader(self._mirror.current, reader_environment)
        self._puller = Puller(self._mirror, self._commands, timeout=timeout, clone_timeout=clone_timeout)
        self.history = HistoryFile(directory.with_name(f"{directory.name}-history.db"), self._commands)
        self._pins = Pins(self._mirror, self._commands, clock)
        self._signatures = Signatures(self._commands, allowed_signers) if allowed_signers else None

    def open(self) -> None:
        """Use an existing mirror; no network. Raises RepositoryUnavailable when there is none yet."""
        self._mirror.current()

    @property
    def ready(self) -> bool:
        """Whether there is a mirror with at least one fetched state (of an empty repository, too)."""
        return self._mirror.exists

    def close(self) -> None:
        """End the reader's processes. May be called twice."""
        self._reader.close()

    # The puller's: only while this process holds the MirrorLock.

    def fetch(self, *, expecting: bool = False) -> Refs:
        """Make the mirror equal to the remote's heads and tags, and return them. Clones at first and after damage.

        Two processes of ours when nothing is new, and when something is that the caller was `expecting`. Raises
        RepositoryUnavailable with a reason that names no URL or path.
        """
        return self._refs(self._puller.fetch(expecting=expecting))

    def rebuild(self) -> Refs:
        """Clone anew beside the mirror and swap; readers of all processes go over to it at their next read."""
        return self._refs(self._puller.rebuild())

    def maintain(self, *, purge: bool = False) -> None:
        """Let Git pack the mirror if it needs it (gc --auto); for a quiet moment, say once an hour.

        `purge`: in any case, and remove what no branch, tag or pin leads to.
        """
        self._puller.maintain(purge=purge)

    def pin(self, commit: str) -> None:
        """Keep a served commit readable whatever happens to the remote's branches; again each day it is served."""
        self._pins.pin(_checked(commit))

    def unpin_older_than(self, days: float) -> bool:
        """Let go of commits that were last pinned more than `days` ago. Whether there were any: then `purge`."""
        return self._pins.unpin_older_than(days)

    # Every worker's.

    def refs(self) -> Refs:
        """The mirror's branches and tags; what does not lead to a commit, or cannot be printed, is left out."""
        return self._refs(parse.local_refs(self._commands.local(*FOR_EACH_REF).output))

    def tree(self, commit: str) -> Tree:
        """The whole tree of a commit, symlinks and submodules with their mode. Proportional to the repository.

        Raises ObjectLost when the mirror does not hold the commit.
        """
        output = self._objects(commit, "ls-tree", "-r", "-z", "--full-tree", _checked(commit))
        return Tree(commit, parse.tree(output))

    def advance(self, tree: Tree, commit: str) -> tuple[Tree, frozenset[str]]:
        """The tree of `commit`, made from another's, and the paths that differ. Proportional to the change.

        Raises ObjectLost when the mirror does not hold the commit.
        """
        if not self.has(tree.commit):  # rewritten and collected: nothing to compare with but what we remember
            new = self.tree(commit)
            return new, frozenset(path for path, _ in tree.blobs.items() ^ new.blobs.items())
        arguments = ("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev")
        changed = parse.changes(self._objects(commit, *arguments, tree.commit, _checked(commit)))
        blobs: dict[str, Blob] = dict(tree.blobs)
        for path in changed:
            blobs.pop(path, None)
        blobs.update((path, blob) for path, blob in changed.items() if blob)
        return Tree(commit, blobs), frozenset(changed)

    def blob(self, blob_id: str, *, limit: int) -> bytes:
        """The content of a file. Raises BlobTooLarge over `limit` bytes, before reading it, and ObjectLost."""
        try:
            return self._reader.content(_checked(blob_id), "blob", limit=limit)
        except ObjectLost:
            self._puller.report_lost(blob_id)
            raise

    def has(self, commit: str) -> bool:
        """Whether the mirror holds this commit."""
        header = self._reader.header(_checked(commit))
        return header is not None and header.kind == "commit"

    def commit(self, commit: str) -> Commit:
        """Author, committer's time and message. Raises ObjectLost when the mirror does not hold it."""
        return parse.commit(commit, self._reader.content(_checked(commit), "commit", limit=_COMMIT_LIMIT))

    def is_verified(self, commit: str) -> bool:
        """Whether one of the allowed signers has signed it; without a list of them nobody has. See Signatures."""
        return self._signatures is not None and self.commit(commit).signed and self._signatures.is_good(commit)

    def signatures(self, commits: Sequence[Commit]) -> dict[str, Signature]:
        """Of those that are signed, by id; empty where no signers are known."""
        signed = [each.id for each in commits if each.signed]
        return self._signatures.of(signed) if self._signatures and signed else {}

    def reachable(self, commit: str) -> bool:
        """Whether a branch or tag leads to this commit. Walks history, and so is for the caller to remember."""
        if not self.has(commit):
            return False
        return not self._commands.local(
            "rev-list", "--max-count=1", commit, "--not", "--branches", "--tags", "--glob=refs/pins/*"
        ).output

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Whether `descendant` is `ancestor` or follows from it. False when the mirror holds only one of them."""
        if not (self.has(ancestor) and self.has(descendant)):
            return False
        if self._is_near(ancestor, descendant):
            return True
        return self._commands.local("merge-base", "--is-ancestor", ancestor, descendant, answers=(0, 1)).status == 0

    def _is_near(self, ancestor: str, descendant: str) -> bool:
        """Whether a few steps back lead there, as after an ordinary push: without a process."""
        seen, waiting = {descendant}, deque([descendant])
        while waiting and ancestor not in seen and len(seen) <= _NEAR:
            try:
                content = self._reader.content(waiting.popleft(), "commit", limit=_COMMIT_LIMIT)
            except BlobTooLarge:
                return False
            fresh = [parent for parent in parse.parents(content) if parent not in seen]
            seen.update(fresh)
            waiting.extend(fresh)
        return ancestor in seen

    def first_parents(self, commit: str, paths: Sequence[str], *, limit: int) -> list[str]:
        """At most `limit` commits before `commit` along first parents that touch one of `paths`, newest first.

        `paths` are literal, files or folders; what cannot be a path in Git is passed over.
        """
        question = _line_question(commit, paths)
        if question is None or limit < 1:
            return []
        arguments = ("rev-list", "--first-parent", f"--max-count={limit + 1}", "--stdin")
        touching = self._commands.local(*arguments, stdin=question).output.decode("ascii").split()
        return [found for found in touching if found != commit][:limit]

    def first_parents_of(self, commit: str, *, limit: int) -> list[str]:
        """At most `limit` commits before `commit` along first parents, newest first."""
        arguments = ("rev-list", "--first-parent", f"--max-count={limit + 1}", _checked(commit))
        return self._objects(commit, *arguments).decode("ascii").split()[1:]

    def line(self, commit: str, paths: Sequence[str], *, limit: int) -> list[Step]:
        """At most `limit` commits along first parents, `commit` itself too, that touch one of `paths`, newest first.

        Asks Git, which walks all of the history: for who does not find it in `history`.
        """
        question = _line_question(commit, paths)
        if question is None:
            return []
        arguments = ("log", "--stdin", "--first-parent", f"--max-count={limit}", *LISTING)
        return list(steps_of(self._commands.local(*arguments, stdin=question).output))

    def stood_at(self, commit: str, seconds: int) -> str:
        """The newest commit on the line of `commit` that was committed by then (Unix seconds); "" if there is none."""
        known = self.history.stood_at(commit, seconds)
        if known is not None:
            return known
        arguments = ("rev-list", "--first-parent", "--max-count=1", f"--until=@{int(seconds)}", _checked(commit))
        return self._commands.local(*arguments).output.decode("ascii").strip()

    def _objects(self, commit: str, *arguments: str) -> bytes:
        """The output of a command that reads trees; a failure of it is a lost object."""
        if not self.has(commit):
            raise ObjectLost(commit)
        try:
            return self._commands.local(*arguments).output
        except GitFailed as failure:
            if failure.timed_out:
                raise
            self._puller.report_lost(commit)
            raise ObjectLost(commit) from failure

    def _refs(self, listed: list[parse.LocalRef]) -> Refs:
        commits = {ref.name: self._commit_of(ref) for ref in listed if ref.name.isprintable()}
        default = next((ref.name.removeprefix(parse.HEADS) for ref in listed if ref.is_default), None)
        return Refs(_under(parse.HEADS, commits), _under(parse.TAGS, commits), default)

    def _commit_of(self, ref: parse.LocalRef) -> str | None:
        if ref.kind == "commit":
            return ref.id
        if ref.peeled_kind == "tag":  # a tag of a tag: for-each-ref looks through one only
            header = self._reader.header(f"{_checked(ref.id)}^{{commit}}")
            return header.id if header else None
        return ref.peeled if ref.peeled_kind == "commit" else None


def _under(prefix: str, commits: dict[str, str | None]) -> dict[str, str]:
    return {name.removeprefix(prefix): id_ for name, id_ in commits.items() if id_ and name.startswith(prefix)}


def _checked(object_id: str) -> str:
    if not COMMIT.fullmatch(object_id):
        raise ValueError("an object id has 40 hexadecimal digits")
    return object_id


def _line_question(commit: str, paths: Sequence[str]) -> bytes | None:
    """By standard input, so that no outside string is an argument and their number does not matter."""
    possible = [path for path in paths if _can_be_a_path(path)]
    if not possible:
        return None
    return "\n".join([_checked(commit), "--", *possible, ""]).encode("utf-8", "surrogatepass")


def _can_be_a_path(path: str) -> bool:
    return not re.search(r"[\0\r\n]", path) and all(part not in ("", ".", "..") for part in path.split("/"))
