"""Owns which paths and texts of the repository may be changed through the server. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set

from app.effective.edit_tree import EditRefused
from app.effective.reach import OWN_FOLDER
from app.model import MASK, Blob

_FILES = frozenset({"100644", "100755"})
#: Git's own folder as file systems spell it that ignore case, or know short names.
_GIT = re.compile(r"\.?git(~\d+)?", re.IGNORECASE)
_TOKEN = re.compile(rf"(?<!\*){re.escape(MASK)}(?!\*)")
_MAX_PATH = 512


def folders_of(blobs: Mapping[str, Blob]) -> frozenset[str]:
    """The folders of a tree."""
    found: set[str] = set()
    for path in blobs:
        folder = path.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return frozenset(found)


def check_path(path: str, blobs: Mapping[str, Blob], folders: Set[str]) -> None:
    """Raise EditRefused unless `path` is a plain file that is there, or a place for a new one.

    `folders` are those of the tree. Symbolic links and submodules are neither followed nor replaced; dot-folders are
    out of bounds, but for the server's own.
    """
    parts = path.split("/")
    if (
        len(path) > _MAX_PATH
        or not path.isprintable()
        or "\\" in path
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise EditRefused("not a path in the repository")
    if any(part.startswith(".") for part in parts[parts[0] == OWN_FOLDER :]) or any(map(_GIT.fullmatch, parts)):
        raise EditRefused("files and folders that begin with a dot are not changed here")
    there = blobs.get(path)
    if there is not None and there.mode not in _FILES:
        raise EditRefused("a symbolic link or a submodule is not changed here")
    if any("/".join(parts[:length]) in blobs for length in range(1, len(parts))):
        raise EditRefused("a folder on the way is a file, a symbolic link or a submodule")
    if path in folders:
        raise EditRefused("a folder, not a file")


def check_unmasked(data: bytes) -> None:
    """Raise EditRefused for a document that was read masked: writing it back would lose its secrets."""
    text = data.decode("utf-8", "replace")
    match = _TOKEN.search(text)
    if match is not None:
        line = text.count("\n", 0, match.start()) + 1
        raise EditRefused(f"line {line} holds {MASK}, which stands for a secret in what was read: write the reference")
