"""Plain files beside the configuration (a logback.xml, a certificate): found, and filled from the target's values."""

from __future__ import annotations

import hashlib
import hmac
import mimetypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from app.effective import MalformedReference, fill_text, flatten
from app.effective.placeholders import BadPlaceholder
from app.effective.precedence import EXTENSIONS
from app.engine.loader import Loader, ReadsTrees
from app.engine.resolver import Resolution
from app.engine.schemas import Blobs
from app.errors import BadConfiguration, UnknownFile
from app.model import Blob, Stale, View
from app.notify import Rev
from app.repository import BlobTooLarge

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
        repository: Blobs,
        trees: ReadsTrees,
        loader: Loader,
        *,
        etag_key: bytes,
    ) -> None:
        self._repository = repository
        self._trees = trees
        self._loader = loader
        self._places = loader.places
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
        target, tree = resolution.target, self._trees.at(resolution.commit)
        folders = self._loader.folders(tree)
        own = {candidate.path for candidate in self._loader.candidates(target, folders)}
        for spots in zip(*(self._places.spots(target, folders, name) for name in names), strict=True):
            for found in spots:
                blob = tree.blobs.get(found)
                readable = found in own or not (
                    is_configuration(found) or self._places.is_anothers(found, target, folders)
                )
                if blob is not None and blob.mode in _FILE_MODES and readable:
                    return found, blob
        raise UnknownFile("no such file")

    def _filled(self, path: str, data: bytes, resolution: Resolution, view: View) -> bytes:
        try:
            return fill_text(data.decode(), flatten(resolution.document(view))).encode()
        except UnicodeDecodeError as exc:
            raise BadConfiguration(path, None, "not UTF-8 text; ask for application/octet-stream") from exc
        except (MalformedReference, BadPlaceholder) as exc:
            raise BadConfiguration(path, None, str(exc)) from exc


def _is_plain(path: str) -> bool:
    """Relative, in normal form, and in no dot-folder."""
    parts = PurePosixPath(path).parts
    return path == "/".join(parts) and bool(parts) and not any(part.startswith((".", "/")) for part in parts)
