"""Which whole documents of Vault a target has among its sources, read at the announced versions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from app.cache import LocalCache
from app.effective import Documents, SecretSources, SourcePath, documents_of, secret_source
from app.engine.vault_in import SecretReader
from app.errors import SecretRefused, SecretsUnavailable
from app.model import Secret, SecretPath, Source, Target
from app.secrets import Known, SecretDenied

#: How long a document that is not there, or is refused, is not asked for again, in seconds.
ABSENT_SECONDS = 10.0

#: Documents that a target would have, and what was read of each; None: it is not there.
Read: TypeAlias = tuple[tuple[SecretPath, Secret | None], ...]


@dataclass(frozen=True, slots=True)
class Sourced:
    """`documents` for the fold, `read` to tell whether they still are what they were."""

    documents: Documents
    read: Read


NOTHING_SOURCED = Sourced(Documents(), ())


class SourceReader:
    """Thread-safe. What is not there is no source; what Vault refuses is an error, for it would be missed."""

    def __init__(
        self, sources: SecretSources, reader: SecretReader, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sources = sources
        self._reader = reader
        self._clock = clock
        self._absent: LocalCache[SecretPath, tuple[float, bool]] = LocalCache(10_000)
        self._made: LocalCache[SecretPath, tuple[Secret, str, Source]] = LocalCache(10_000)

    def read(self, target: Target, announced: Mapping[SecretPath, Known], *, watched: bool) -> Sourced:
        """Its documents. With `watched` the others are told of those that are not there, so that one that comes is
        announced. Raises SecretRefused, SecretsUnavailable."""
        paths = self._sources.of(target)
        if not paths:
            return NOTHING_SOURCED
        found = [(each, self._one(each, announced, watched=watched)) for each in paths]
        made = [(each, self._source(each, secret)) for each, secret in found if secret is not None]
        above = tuple(source for each, source in made if each.above)
        below = tuple(source for each, source in made if not each.above)
        return Sourced(documents_of(above, below), tuple((each.path, secret) for each, secret in found))

    def still(self, read: Read, target: Target, announced: Mapping[SecretPath, Known]) -> bool:
        """Whether they are the very same documents. Raises as `read`."""
        now = [self._one(each, announced, watched=False) for each in self._sources.of(target)]
        return len(now) == len(read) and all(secret is known for secret, (_, known) in zip(now, read, strict=True))

    def _one(self, source: SourcePath, announced: Mapping[SecretPath, Known], *, watched: bool) -> Secret | None:
        path = source.path
        until, refused = self._absent.get(path) or (0.0, False)
        known = announced.get(path)
        if self._clock() < until and (known is None or known.gone or refused):
            return _nothing(source, refused=refused)
        try:
            secret = self._reader.document(path, announced)
            if secret is not None:
                return secret
            refused = False
        except SecretDenied as denied:
            refused = denied.forbidden
        except SecretsUnavailable:
            if known is None or not known.gone:
                raise
        self._absent.put(path, (self._clock() + ABSENT_SECONDS, refused))
        if watched and not refused:
            self._reader.adopt_absent(path)
        return _nothing(source, refused=refused)

    def _source(self, source: SourcePath, secret: Secret) -> Source:
        known = self._made.get(source.path)
        if known is None or known[0] is not secret or known[1] != source.name:
            known = (secret, source.name, secret_source(source.name, source.path, secret.data))
            self._made.put(source.path, known)
        return known[2]


def _nothing(source: SourcePath, *, refused: bool) -> Secret | None:
    if refused:
        raise SecretRefused([source.name], "Vault refuses this source")
    return None
