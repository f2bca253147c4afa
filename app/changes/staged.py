"""Blobs that are in no repository yet, beside those that are: what a plan reads through."""

from __future__ import annotations

from app.cache import LocalCache
from app.engine import Blobs
from app.repository import BlobTooLarge


class StagedBlobs:
    """Thread-safe. What is staged is found by its id like any other blob, as long as others do not push it out."""

    def __init__(self, repository: Blobs, capacity: int = 512) -> None:
        self._repository = repository
        self._staged: LocalCache[str, bytes] = LocalCache(capacity)

    def stage(self, blob_id: str, data: bytes) -> None:
        self._staged.put(blob_id, data)

    def blob(self, blob_id: str, *, limit: int) -> bytes:
        """Raises BlobTooLarge, ObjectLost."""
        data = self._staged.get(blob_id)
        if data is None:
            return self._repository.blob(blob_id, limit=limit)
        if len(data) > limit:
            raise BlobTooLarge(len(data), limit)
        return data
