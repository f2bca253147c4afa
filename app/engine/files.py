"""Plain files beside the configuration (a logback.xml, a certificate): found, and filled from the target's values."""

from __future__ import annotations

import hashlib
import hmac
import mimetypes
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from app.effective import MalformedReference, fill_text, flatten, locations
from app.effective.placeholders import BadPlaceholder
from app.effective.precedence import EXTENSIONS
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
        self._etag_key = etag_key

    def read(self, resolution: Resolution, view: View, path: str, *, raw: bool) -> FileAnswer:
        """The strongest search location's file of this name. Raises UnknownFile, BadConfiguration."""
        found, blob = self._find(resolution, path)
        limit = MAX_BYTES if raw else MAX_TEXT
        try:
            data = self._repository.blob(blob.id, limit=limit)
        except BlobTooLarge as exc:
            raise BadConfiguration(found, None, f"the file is larger than {limit >> 20} MiB") from exc
        body = data if raw else self._filled(found, data, resolution, view)
        kind = "application/octet-stream" if raw else f"{mimetypes.guess_type(found)[0] or 'text/plain'}; charset=utf-8"
        tag = f"{blob.id} {raw} {'' if raw else f'{view} {resolution.etag}'}"
        etag = hmac.digest(self._etag_key, tag.encode(), hashlib.sha256).hex()[:40]
        return FileAnswer(body, kind, etag, resolution.version, resolution.target.topic)

    def _find(self, resolution: Resolution, path: str) -> tuple[str, Blob]:
        wanted = PurePosixPath(path)
        if path != str(wanted) or wanted.is_absolute() or any(part.startswith(".") for part in wanted.parts):
            raise UnknownFile("no such file")
        own = {candidate.path for candidate in self._loader.candidates(resolution.target)}
        blobs = self._trees.at(resolution.version).blobs
        for folder in locations(resolution.target, self._search_paths):
            found = f"{folder}/{path}" if folder else path
            blob = blobs.get(found)
            is_configuration = wanted.suffix.removeprefix(".") in EXTENSIONS
            readable = found in own or not (is_configuration or self._is_anothers(found, resolution.target))
            if blob is not None and blob.mode in _FILE_MODES and readable:
                return found, blob
        raise UnknownFile("no such file")

    def _is_anothers(self, path: str, target: Target) -> bool:
        """Whether it lies where folders are named after services, envs or labels, and not in one of this target's."""
        roots = (pattern.partition("{")[0] for pattern in self._search_paths if "{" in pattern)
        if not any(path.startswith(root) for root in roots):
            return False
        mine = locations(target, [pattern for pattern in self._search_paths if "{" in pattern])
        return not any(path.startswith(f"{folder}/") for folder in mine)

    def _filled(self, path: str, data: bytes, resolution: Resolution, view: View) -> bytes:
        try:
            return fill_text(data.decode(), flatten(resolution.document(view))).encode()
        except UnicodeDecodeError as exc:
            raise BadConfiguration(path, None, "not UTF-8 text; ask for application/octet-stream") from exc
        except (MalformedReference, BadPlaceholder) as exc:
            raise BadConfiguration(path, None, str(exc)) from exc
