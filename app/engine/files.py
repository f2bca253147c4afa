"""Plain files beside the configuration (a logback.xml, a certificate): found, and filled from the target's values."""

from __future__ import annotations

import hashlib
import hmac
import mimetypes
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from app.effective import MalformedReference, fill_text, flatten, locations
from app.effective.placeholders import BadPlaceholder
from app.effective.precedence import EXTENSIONS, STAR
from app.engine.loader import Loader, Trees
from app.engine.resolver import Resolution
from app.errors import BadConfiguration, UnknownFile
from app.model import Blob, Stale, Target, View
from app.notify import Rev
from app.repository import BlobTooLarge, GitConfigBackend

MAX_TEXT = 1 << 20
MAX_BYTES = 16 << 20
_FILE_MODES = frozenset({"100644", "100755"})


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """A plain file. `etag` is a keyed entity tag; `rev` and `stale` as in Answer."""

    body: bytes = field(repr=False)
    media_type: str
    etag: str
    version: str
    topic: str
    rev: Rev | None = None
    stale: tuple[Stale, ...] = ()


class PlainFiles:
    """Thread-safe. Never serves a dot-folder, or a configuration file that is not one of the target's own."""

    def __init__(
        self,
        repository: GitConfigBackend,
        trees: Trees,
        loader: Loader,
        *,
        search_paths: tuple[str, ...],
        etag_key: bytes,
    ) -> None:
        self._repository = repository
        self._trees = trees
        self._loader = loader
        self._search_paths = search_paths
        self._roots = [_root(pattern) for pattern in search_paths if "{" in pattern]
        self._etag_key = etag_key

    def read(self, resolution: Resolution, view: View, path: str, *, raw: bool) -> FileAnswer:
        """The strongest search location's file of this name. Raises UnknownFile, BadConfiguration."""
        found, blob = self.find(resolution, [path])
        data = self.content(found, blob, raw=raw)
        body = data if raw else self._filled(found, data, resolution, view)
        kind = "application/octet-stream" if raw else f"{mimetypes.guess_type(found)[0] or 'text/plain'}; charset=utf-8"
        etag = self.tag(f"{blob.id} {raw} {'' if raw else f'{view} {resolution.etag}'}")
        return FileAnswer(body, kind, etag, resolution.version, resolution.target.topic)

    def tag(self, content: str) -> str:
        """A keyed entity tag of what a text tells apart."""
        return hmac.digest(self._etag_key, content.encode(), hashlib.sha256).hex()[:40]

    def content(self, path: str, blob: Blob, *, raw: bool) -> bytes:
        """The file as it lies in Git. Raises BadConfiguration when it is larger than a text, or `raw`, may be."""
        limit = MAX_BYTES if raw else MAX_TEXT
        try:
            return self._repository.blob(blob.id, limit=limit)
        except BlobTooLarge as exc:
            raise BadConfiguration(path, None, f"the file is larger than {limit >> 20} MiB") from exc

    def find(
        self,
        resolution: Resolution,
        names: Sequence[str],
        is_configuration: Callable[[str], bool] = lambda path: path.rpartition(".")[2] in EXTENSIONS,
    ) -> tuple[str, Blob]:
        """The file of the strongest search location that has one of `names`, the first of them there.

        `is_configuration` tells which paths are configuration files: of those only the target's own are to be seen.
        Raises UnknownFile.
        """
        if not all(map(_is_plain, names)):
            raise UnknownFile("no such file")
        target, tree = resolution.target, self._trees.at(resolution.version)
        folders = self._loader.folders(tree)
        own = {candidate.path for candidate in self._loader.candidates(target, folders)}
        for folder in locations(target, self._search_paths, folders):
            for name in names:
                found = f"{folder}/{name}" if folder else name
                blob = tree.blobs.get(found)
                readable = found in own or not (is_configuration(found) or self._is_anothers(found, target, folders))
                if blob is not None and blob.mode in _FILE_MODES and readable:
                    return found, blob
        raise UnknownFile("no such file")

    def _is_anothers(self, path: str, target: Target, folders: frozenset[str] | None) -> bool:
        """Whether it lies where folders are named after services, envs or labels, and not in one of this target's."""
        if not any(root.match(path) for root in self._roots):
            return False
        mine = locations(target, [pattern for pattern in self._search_paths if "{" in pattern], folders)
        return not any(path.startswith(f"{folder}/") for folder in mine)

    def _filled(self, path: str, data: bytes, resolution: Resolution, view: View) -> bytes:
        try:
            return fill_text(data.decode(), flatten(resolution.document(view))).encode()
        except UnicodeDecodeError as exc:
            raise BadConfiguration(path, None, "not UTF-8 text; ask for application/octet-stream") from exc
        except (MalformedReference, BadPlaceholder) as exc:
            raise BadConfiguration(path, None, str(exc)) from exc


def _root(pattern: str) -> re.Pattern[str]:
    """Matches how a path begins that lies where a search path with fields leads."""
    return re.compile(STAR.join(map(re.escape, pattern.partition("{")[0].split("*"))))


def _is_plain(path: str) -> bool:
    """Relative, in normal form, and in no dot-folder."""
    parts = PurePosixPath(path).parts
    return path == "/".join(parts) and bool(parts) and not any(part.startswith((".", "/")) for part in parts)
