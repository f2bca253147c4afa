"""Reads what Git prints for machines. Pure: bytes in, values out.

Names and paths that are not UTF-8 are left out: nobody can ask for them.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from app.aside import in_slices
from app.model import Blob, Commit

HEADS = "refs/heads/"
TAGS = "refs/tags/"

#: for-each-ref's format for `local_refs`; the fields hold neither blanks nor newlines.
REF_FORMAT = "%(refname) %(objectname) %(objecttype) %(*objectname) %(*objecttype)%(HEAD)"


@dataclass(frozen=True, slots=True)
class RemoteRefs:
    """What `ls-remote --symref` tells: full ref name -> object id (tags not peeled), and the branch HEAD stands on."""

    ids: Mapping[str, str]
    default: str | None


@dataclass(frozen=True, slots=True)
class LocalRef:
    """One line of for-each-ref. `peeled` and `peeled_kind` are empty for what is no annotated tag."""

    name: str
    id: str
    kind: str
    peeled: str
    peeled_kind: str
    is_default: bool


def remote_refs(output: bytes) -> RemoteRefs:
    """`ref: refs/heads/main<TAB>HEAD` and `<id><TAB><name>` lines (git-ls-remote(1)); only heads and tags are kept."""
    ids: dict[str, str] = {}
    default = None
    for line in output.split(b"\n"):
        value, _, name = line.partition(b"\t")
        if name == b"HEAD" and value.startswith(b"ref: " + HEADS.encode()):
            default = _text(value[len(b"ref: " + HEADS.encode()) :])
        elif name.startswith((HEADS.encode(), TAGS.encode())) and not name.endswith(b"^{}"):
            ids[name.decode("utf-8", "surrogateescape")] = value.decode("ascii")
    return RemoteRefs(ids, default)


def local_refs(output: bytes) -> list[LocalRef]:
    """Lines of for-each-ref in REF_FORMAT."""
    return [_local_ref(line.decode("utf-8", "surrogateescape")) for line in output.split(b"\n") if line]


def _local_ref(line: str) -> LocalRef:
    name, id_, kind, peeled, rest = line.split(" ", 4)
    return LocalRef(name, id_, kind, peeled, rest[:-1], is_default=rest.endswith("*"))


def tree(output: bytes) -> dict[str, Blob]:
    """`<mode> <type> <id><TAB><path><NUL>` entries of `ls-tree -r -z`."""
    blobs: dict[str, Blob] = {}
    intern = sys.intern
    for entry in _entries(output):  # the long loop of a big repository
        tab = entry.index("\t")
        blobs[entry[tab + 1 :]] = Blob(intern(entry[:6]), entry[tab - 40 : tab])
    return blobs


def _entries(output: bytes) -> list[str]:
    try:
        return output.decode().split("\0")[:-1]
    except UnicodeDecodeError:
        return [text for entry in output.split(b"\0")[:-1] if (text := _text(entry)) is not None]


def changes(output: bytes) -> dict[str, Blob | None]:
    """`:<old mode> <mode> <old id> <id> <status><NUL><path><NUL>` of `diff-tree -r -z --raw`; None: deleted."""
    fields = output.split(b"\0")[:-1]
    changed: dict[str, Blob | None] = {}
    for head, raw_path in in_slices(zip(fields[::2], fields[1::2], strict=True)):  # a commit may touch every file
        _, mode, _, id_, status = head.decode("ascii").split(" ")
        path = _text(raw_path)
        if path is not None:
            changed[path] = None if status == "D" else Blob(sys.intern(mode), id_)
    return changed


def commit(commit_id: str, content: bytes) -> Commit:
    """A commit object (gitformat: headers, an empty line, the message). `time` is the committer's."""
    head, _, message = content.partition(b"\n\n")
    headers = dict(line.split(b" ", 1) for line in reversed(head.split(b"\n")) if b" " in line and line[:1] != b" ")
    encoding = _text(headers.get(b"encoding", b"utf-8")) or "utf-8"
    author = _decoded(headers.get(b"author", b"").rpartition(b"> ")[0] + b">", encoding)
    seconds = headers.get(b"committer", b"").rpartition(b"> ")[2].split(b" ")[0]
    signed = b"gpgsig" in headers or b"gpgsig-sha256" in headers
    return Commit(commit_id, author, _rfc3339(seconds), _decoded(message, encoding).strip("\n"), signed)


def parents(content: bytes) -> list[str]:
    """Of a commit object."""
    lines = itertools.takewhile(lambda line: line, content.split(b"\n"))
    return [line[7:].decode("ascii") for line in lines if line.startswith(b"parent ")]


def _rfc3339(seconds: bytes) -> str:
    try:
        time = datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):  # anybody may write anything into a commit
        time = datetime.fromtimestamp(0, UTC)
    return time.isoformat().replace("+00:00", "Z")


def _decoded(raw: bytes, encoding: str) -> str:
    try:
        return raw.decode(encoding, "replace")
    except (LookupError, ValueError):  # an encoding that is none, or none for text
        return raw.decode("utf-8", "replace")


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
