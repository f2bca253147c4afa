"""The version watch: one look at the secrets in use, and what has changed in Vault since the last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from app.errors import SecretsUnavailable
from app.model import SecretPath
from app.secrets.backend import SecretBackend, SecretDenied
from app.secrets.store import SecretStore


@dataclass(frozen=True, slots=True)
class Known:
    """What has been announced of a path: its version, for KV v1 a counter beside the digest of the data.

    Version 0 stands for nothing announced yet. `gone` is set for a path that was reported gone, so that its return is
    reported even if its version is the old one (undeleted).
    """

    version: int = 0
    digest: str = ""
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look found: paths to announce with their new state, paths that are gone, and paths without an answer."""

    changed: Mapping[SecretPath, Known]
    gone: frozenset[SecretPath]
    unanswered: frozenset[SecretPath]


class VersionWatch:
    """Compares versions in Vault with those announced. `observe` is called by one thread at a time.

    The work is proportional to the paths given: one metadata read each, for KV v1 one read of the data.
    """

    def __init__(self, backend: SecretBackend, store: SecretStore) -> None:
        self._backend = backend
        self._store = store
        self._lower: dict[SecretPath, int] = {}

    def observe(self, known: Mapping[SecretPath, Known]) -> Observation:
        """Look at each path once. Never raises for a path: one that fails does not stop the others.

        When Vault does not answer, the store's breaker opens after a few paths and the rest are `unanswered` at once.
        `gone` holds paths deleted, destroyed or refused that are not marked so in `known` already.
        """
        changed: dict[SecretPath, Known] = {}
        gone: set[SecretPath] = set()
        unanswered: set[SecretPath] = set()
        for path, before in known.items():
            try:
                after = self._store.ask(self._question(path, before))
            except SecretDenied:
                if not before.gone:
                    gone.add(path)
            except SecretsUnavailable:
                unanswered.add(path)
            else:
                if self._is_news(path, before, after):
                    changed[path] = after
        self._lower = {path: version for path, version in self._lower.items() if path in known}
        return Observation(changed, frozenset(gone), frozenset(unanswered))

    def _question(self, path: SecretPath, before: Known) -> Callable[[], Known]:
        return lambda: self._look(path, before)

    def _look(self, path: SecretPath, before: Known) -> Known:
        version = self._backend.current_version(path)
        if version:
            return Known(version)
        data, _ = self._backend.read(path, None)
        digest = self._store.digest(data)
        same = digest == before.digest and not before.gone
        return before if same else Known(before.version + 1, digest)

    def _is_news(self, path: SecretPath, before: Known, after: Known) -> bool:
        if after.version >= before.version or before.gone:
            self._lower.pop(path, None)
            # The digest of a versioned path tells one life of it from another, and Vault knows none.
            return before.gone or after != (before if after.digest else replace(before, digest=""))
        # Lower than announced: deleted with its metadata and made anew, or a standby that lags behind. Seen twice, it
        # is the first; announcing a laggard would send every reader back to an old secret.
        seen_before = self._lower.get(path) == after.version
        self._lower[path] = after.version
        return seen_before
