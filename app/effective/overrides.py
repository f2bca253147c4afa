"""Owns the operator's own values, which stand above every file of the repository."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from app.effective.documents import parse
from app.model import Source

#: The path of their origins, and the name by which Spring's clients know that nothing is stronger.
OVERRIDES = "overrides"


@dataclass(frozen=True, slots=True)
class Overrides:
    """The documents in the order of the file; `digest` tells one file from another, and is empty without a file."""

    documents: tuple[Source, ...] = ()
    digest: str = ""


NO_OVERRIDES = Overrides()


def read_overrides(extension: str, data: bytes) -> Overrides:
    """A file of any format that the repository may hold, by its extension. Raises BadConfiguration."""
    documents = parse(f"{OVERRIDES}.{extension}", data)
    digest = hashlib.sha256(f"{extension}\0".encode() + data).hexdigest()
    return Overrides(tuple(replace(source, path=OVERRIDES) for source in documents), digest)
