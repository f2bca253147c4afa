"""What somebody wants changed, made into files: pure but for the blobs that it is handed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from app.effective import (
    OWN_FOLDER,
    BrokenSchema,
    EditRefused,
    KeyEdits,
    check_path,
    check_unmasked,
    edit,
    folders_of,
    key_text,
    parse,
    read_schema,
)
from app.effective.limits import MAX_BYTES
from app.effective.own_files import FREEZE_FILE, TARGETS_FILE, read_freeze, read_targets
from app.effective.precedence import EXTENSIONS
from app.effective.rollouts import ROLLOUTS_FILE, read_rollouts
from app.effective.schema_file import SCHEMA_FOLDER
from app.errors import BadConfiguration, BadInput
from app.model import Blob, Tree
from app.repository import NewFile

#: What keys edited one by one may cost: the bytes of the files, each as often as it has keys.
MAX_EDITING = 4 << 20

_Result = TypeVar("_Result")
_CHECKS: Mapping[str, Callable[[bytes], object]] = {
    FREEZE_FILE: read_freeze,
    ROLLOUTS_FILE: read_rollouts,
    TARGETS_FILE: read_targets,
}


class Aside(Protocol):
    """Does what is nothing but computing, where it holds up nobody."""

    def __call__(self, work: Callable[[], _Result]) -> _Result: ...


@dataclass(frozen=True, slots=True)
class FileEdit:
    """One file's change: keys, a whole new text, or (neither) its deletion."""

    path: str
    keys: KeyEdits | None = None
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Proposal:
    """Files that differ from a tree: new content, a blob of the repository, or None for a deletion.

    `keys` are what the audit trail names; `skipped` are paths that would differ and are not ours to change.
    """

    files: Mapping[str, NewFile | Blob | None]
    keys: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def blobs(self) -> dict[str, Blob | None]:
        """The same by id, as Git will number the content."""
        return {path: staged(data) if isinstance(data, NewFile) else data for path, data in self.files.items()}

    def tree(self, base: Tree) -> Tree:
        """The tree that `base` would become; no commit has it yet."""
        after = dict(base.blobs)
        for path, blob in self.blobs().items():
            if blob is None:
                after.pop(path, None)
            else:
                after[path] = blob
        return Tree("", after)


def staged(file: NewFile) -> Blob:
    """The blob that Git will make of it."""
    content = b"blob %d\0%s" % (len(file.data), file.data)
    return Blob(file.mode, hashlib.sha1(content, usedforsecurity=False).hexdigest())


def propose(edits: Sequence[FileEdit], tree: Tree, read: Callable[[Blob], bytes], aside: Aside) -> Proposal:
    """The edits made on `tree`; files that come out as they were are left out.

    Raises BadInput for a path or an edit that is refused, BadConfiguration for a configuration file that would not
    parse.
    """
    files: dict[str, NewFile | None] = {}
    keys: list[str] = []
    folders = folders_of(tree.blobs)
    cost = 0
    for change in edits:
        if change.path in files:
            raise BadInput("edits", f"{change.path[:200]!a} is named twice")
        try:
            check_path(change.path, tree.blobs, folders)
            there = tree.blobs.get(change.path)
            before = read(there) if there and change.keys else None
            cost += len(before or b"") * (change.keys.count if change.keys else 0)
            if cost > MAX_EDITING:
                raise EditRefused("so many keys in so large files are edited as text")
            files[change.path] = _edited(change, there, before, aside)
        except EditRefused as refused:
            raise BadInput("edits", f"{change.path[:200]}: {refused}") from refused
        keys += _named(change)
    after = {path: data for path, data in files.items() if not _same(path, data, tree)}
    for path in after:
        _check_folders(path, after)
    return Proposal(after, tuple(keys))


def _edited(change: FileEdit, there: Blob | None, before: bytes | None, aside: Aside) -> NewFile | None:
    if change.keys is None and change.text is None:
        if there is None:
            raise EditRefused("there is no such file to delete")
        return None

    def made() -> bytes:
        data = _encoded(change.text) if change.keys is None else edit(change.path, before, change.keys)
        check(change.path, data)
        return data

    return NewFile(aside(made), there.mode if there else "100644")


def _encoded(text: str | None) -> bytes:
    try:
        return (text or "").encode()
    except UnicodeEncodeError:
        raise EditRefused("half of a character is no text") from None


def check(path: str, data: bytes) -> None:
    """Raise EditRefused or BadConfiguration for what no file of this name may hold."""
    if len(data) > MAX_BYTES:
        raise EditRefused("larger than 1 MiB")
    check_unmasked(data)
    if path in _CHECKS:
        _CHECKS[path](data)
    elif path.startswith(f"{SCHEMA_FOLDER}/") and path.endswith(".json"):
        _check_schema(path, data)
    elif path.rpartition(".")[2] in EXTENSIONS:
        parse(path, data)


def _check_schema(path: str, data: bytes) -> None:
    """One that cannot be applied would hold for nobody, and nobody would notice."""
    try:
        read_schema(path, data)
    except BrokenSchema as broken:
        raise BadConfiguration(broken.path, broken.line, broken.reason) from broken


def check_own(proposal: Proposal, read: Callable[[Blob], bytes]) -> None:
    """Hold what comes back of the server's own files to what an edit of them would be. Raises as `propose` does."""
    for path, blob in proposal.files.items():
        if isinstance(blob, Blob) and path.startswith(f"{OWN_FOLDER}/"):
            try:
                check(path, read(blob))
            except EditRefused as refused:
                raise BadInput("files", f"{path[:200]}: {refused}") from refused


def _same(path: str, file: NewFile | None, tree: Tree) -> bool:
    return (staged(file) if file else None) == tree.blobs.get(path)


def _check_folders(path: str, files: Mapping[str, object]) -> None:
    """Two edits of one request must not make a file and a folder of the same name."""
    if any(other.startswith(f"{path}/") for other in files):
        raise BadInput("edits", f"{path[:200]}: is a file and a folder at once")


def _named(change: FileEdit) -> list[str]:
    if change.keys is None:
        return [change.path]
    return [f"{change.path}: {key_text(path)}" for path in (*change.keys.set, *change.keys.unset)]
