"""Owns making commits without a work tree and pushing them; nothing of it stays in the mirror.

A change is built in a folder of its own (objects, an index) that borrows the mirror's objects and is removed
afterwards. So any worker may write, a rejected push leaves nothing, and what was pushed comes by the next fetch.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import PushRejected, RepositoryUnavailable
from app.model import COMMIT, LABEL, Blob
from app.repository.environment import GitCredentials, local_environment, network_environment, protocol_of
from app.repository.errors import HeadMoved, PushUncertain
from app.repository.failure import reason_of
from app.repository.mirror import MirrorDirectory
from app.repository.process import Completed, TimedOut, run
from app.repository.rejection import Verdict, verdict_of

#: A folder that is older was left by a process that died.
_ABANDONED_SECONDS = 3600.0
_SERVER = "Config Server"
_HASH = ("hash-object", "-w", "--no-filters", "--stdin")
#: What Git strips from the ends of a name, or would take for the end of one (git-commit-tree(1)).
_NOT_IN_NAMES = re.compile(r"[<>\x00-\x1f\x7f]")
_CRUD = " .,:;\"\\'"


@dataclass(frozen=True, slots=True)
class Author:
    """Who a commit is by: the principal. `email` may be empty."""

    name: str
    email: str = ""


@dataclass(frozen=True, slots=True)
class NewFile:
    """Content that the repository does not hold yet, with Git's mode of a plain file."""

    data: bytes = field(repr=False)
    mode: str = "100644"


@dataclass(frozen=True, slots=True)
class Draft:
    """A commit that exists in a folder of its own only, until it is pushed or the folder goes."""

    commit: str
    parent: str
    folder: Path


class GitWriter:
    """Makes commits on a branch and pushes them, with credentials of their own. Thread-safe; keeps no state.

    `mirror` is the directory given to GitConfigBackend, `folder` where drafts are made (on the same host; ours alone).
    `timeout` bounds each command, in seconds. Paths and messages reach Git by standard input, ids are checked, and a
    branch's name stands inside a refspec only.
    """

    def __init__(self, url: str, mirror: Path, folder: Path, *, credentials: GitCredentials, timeout: float) -> None:
        protocol_of(url)
        self._url = url
        self._mirror = MirrorDirectory(mirror)
        self._folder = folder.absolute()
        self._credentials = credentials
        self._timeout = timeout

    @contextlib.contextmanager
    def drafted(
        self, parent: str, files: Mapping[str, NewFile | Blob | None], *, author: Author, message: str
    ) -> Iterator[Draft]:
        """A commit after `parent` in which `files` are written (new content, a blob that is there) or deleted (None).

        It is gone when the context ends, unless it was pushed. The caller has checked the paths against the tree.
        Raises RepositoryUnavailable (disk full, no clone).
        """
        clone = self._mirror.current()
        with self._own_folder() as folder:
            environment = local_environment(clone) | _own_objects(clone, folder)
            tree = self._tree(environment, _checked(parent), files)
            identity = {**_identity("AUTHOR", author), **_identity("COMMITTER", Author(_SERVER))}
            arguments = ("commit-tree", tree, "-p", parent, "-F", "-")
            commit = self._asked(environment | identity, *arguments, stdin=message.encode())
            yield Draft(commit, parent, folder)

    def push(self, draft: Draft, branch: str) -> None:
        """Put the draft on `branch` if that still stands at the draft's parent.

        Raises HeadMoved when it does not, PushRejected with the remote's own words, RepositoryUnavailable when nothing
        was pushed, PushUncertain when it cannot be told whether it was.
        """
        if not LABEL.fullmatch(branch) or not branch.isprintable():
            raise ValueError("not a branch")
        ref = f"refs/heads/{branch}"
        lease = f"--force-with-lease={ref}:{draft.parent}"
        try:
            done = self._network(draft, "push", "--porcelain", "--no-verify", lease, "origin", f"{draft.commit}:{ref}")
        except TimedOut as exc:
            if self._stands_at(draft, ref, draft.commit):
                return
            raise PushUncertain("the repository did not answer in time; the push may yet arrive") from exc
        self._judge(draft, ref, done)

    def _judge(self, draft: Draft, ref: str, done: Completed) -> None:
        verdict = verdict_of(done.output.decode("utf-8", "replace"), done.errors)
        if verdict.pushed:
            return
        if verdict.moved or (verdict.words is not None and self._moved(draft, ref)):
            raise HeadMoved("the branch has moved meanwhile")
        if verdict.words is not None:
            raise PushRejected(verdict.words)
        self._broken_off(draft, ref, done, verdict)

    def _broken_off(self, draft: Draft, ref: str, done: Completed, verdict: Verdict) -> None:
        """No verdict on the ref: refused before anything was sent, or cut off while it was."""
        if not verdict.sent:
            raise RepositoryUnavailable(reason_of(done.errors, done.status))
        if not self._stands_at(draft, ref, draft.commit):
            raise PushUncertain("the repository broke off the connection; the push may yet arrive")

    def _moved(self, draft: Draft, ref: str) -> bool:
        """Two pushes at once may both pass the lease; the remote's refusal of the second has many wordings."""
        try:
            return not self._stands_at(draft, ref, draft.parent)
        except PushUncertain:
            return False

    def _stands_at(self, draft: Draft, ref: str, commit: str) -> bool:
        """Whether the remote's branch is at `commit` now. Raises PushUncertain when the remote cannot be asked."""
        try:
            done = self._network(draft, "ls-remote", "origin", ref)
        except TimedOut as exc:
            raise PushUncertain("the repository does not answer; the push may have arrived") from exc
        if done.status != 0:
            raise PushUncertain("the repository does not answer; the push may have arrived")
        return done.output.decode("utf-8", "replace").startswith(f"{commit}\t")

    def _tree(self, environment: Mapping[str, str], parent: str, files: Mapping[str, NewFile | Blob | None]) -> str:
        self._asked(environment, "read-tree", parent)
        lines = []
        for path, content in files.items():
            blob = content if isinstance(content, Blob) else None
            if isinstance(content, NewFile):
                blob = Blob(content.mode, self._asked(environment, *_HASH, stdin=content.data))
            lines.append(_index_line(path, blob))
        self._asked(environment, "update-index", "-z", "--index-info", stdin=b"".join(lines))
        return self._asked(environment, "write-tree")

    def _asked(self, environment: Mapping[str, str], *arguments: str, stdin: bytes | None = None) -> str:
        """Run a local command; its output is an id or nothing. Raises RepositoryUnavailable."""
        try:
            done = run(arguments, environment=environment, timeout=self._timeout, stdin=stdin)
        except TimedOut as exc:
            raise RepositoryUnavailable(f"git {arguments[0]} took longer than {self._timeout:g} s") from exc
        except OSError as exc:
            raise RepositoryUnavailable("the change cannot be written") from exc
        if "Ignoring path" in done.errors:  # update-index calls that a success
            raise ValueError("not a path that Git keeps")
        if done.status != 0:
            raise RepositoryUnavailable(reason_of(done.errors, done.status))
        return done.output.decode("ascii", "replace").strip()

    def _network(self, draft: Draft, *arguments: str) -> Completed:
        """Run a command that talks to the remote. Raises TimedOut, and RepositoryUnavailable without Git."""
        clone = self._mirror.current()
        environment = network_environment(clone, self._url, self._credentials, self._timeout, writing=True)
        try:
            return run(arguments, environment=environment | _own_objects(clone, draft.folder), timeout=self._timeout)
        except OSError as exc:
            raise RepositoryUnavailable("git cannot be run") from exc

    @contextlib.contextmanager
    def _own_folder(self) -> Iterator[Path]:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._remove_abandoned()
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            (folder / "objects").mkdir()
        except OSError as exc:
            raise RepositoryUnavailable("the change cannot be written: the disk is full or refuses it") from exc
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _remove_abandoned(self) -> None:
        for folder in self._folder.iterdir():
            with contextlib.suppress(OSError):  # gone just now: another worker has tidied
                if time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)


def _own_objects(clone: Path, folder: Path) -> dict[str, str]:
    return {
        "GIT_OBJECT_DIRECTORY": str(folder / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(clone / "objects"),
        "GIT_INDEX_FILE": str(folder / "index"),
    }


def _identity(role: str, author: Author) -> dict[str, str]:
    return {f"GIT_{role}_NAME": _name(author.name) or "unknown", f"GIT_{role}_EMAIL": _name(author.email)}


def _name(text: str) -> str:
    """A name as Git can keep it: one line, no angle brackets, nothing but content at its ends."""
    return _NOT_IN_NAMES.sub("", text)[:200].strip(_CRUD)


def _index_line(path: str, blob: Blob | None) -> bytes:
    """For `update-index -z --index-info`; mode 0 removes."""
    entry = f"{blob.mode} {_checked(blob.id)}" if blob else f"0 {'0' * 40}"
    if "\0" in path:
        raise ValueError("no path holds a NUL")
    return f"{entry}\t{path}\0".encode()


def _checked(object_id: str) -> str:
    if not COMMIT.fullmatch(object_id):
        raise ValueError("an object id has 40 hexadecimal digits")
    return object_id
