"""A clock that is moved by hand, and a SecretBackend in memory that can be told to be silent."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from app.errors import SecretsUnavailable
from app.model import Json, SecretPath
from app.secrets import SecretDenied


class Clock:
    """Seconds that pass only by `advance`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class MemoryBackend:
    """KV v2 documents (alias `kv`) and KV v1 documents (alias `old`) in memory; `reads` lists what was read.

    `down` makes every call fail as an unreachable Vault does; `forbidden` holds paths that are refused. While `gate` is
    cleared, reads wait. Passes the same contract tests as VaultSecretBackend.
    """

    def __init__(self) -> None:
        self.reads: list[tuple[SecretPath, int | None]] = []
        self.down = False
        self.broken: set[SecretPath] = set()
        self.forbidden: set[SecretPath] = set()
        self.gate = threading.Event()
        self.gate.set()
        self._versions: dict[SecretPath, list[Mapping[str, Json] | None]] = {}

    def put(self, path: SecretPath, data: Mapping[str, Json]) -> int:
        versions = self._versions.setdefault(path, [])
        versions.append(data)
        return len(versions)

    def delete(self, path: SecretPath) -> None:
        self._versions[path][-1] = None

    def remove(self, path: SecretPath) -> None:
        """Delete with all versions and metadata."""
        self._versions.pop(path, None)

    def read(self, path: SecretPath, version: int | None, service: str | None = None) -> tuple[Mapping[str, Json], int]:
        self.reads.append((path, version))
        assert self.gate.wait(60)
        self._check(path)
        versions = self._versions.get(path, [])
        unversioned = path.alias == "old"
        number = len(versions) if version is None or unversioned else version
        data = versions[number - 1] if 0 < number <= len(versions) else None
        if data is None:
            raise SecretDenied(whole_path=version is None or unversioned)
        return data, 0 if unversioned else number

    def current_version(self, path: SecretPath) -> int:
        self._check(path)
        if path.alias == "old":
            return 0
        versions = self._versions.get(path, [])
        if not versions or versions[-1] is None:
            raise SecretDenied
        return len(versions)

    def _check(self, path: SecretPath) -> None:
        if self.down or path in self.broken:
            raise SecretsUnavailable("Vault cannot be reached")
        if path in self.forbidden:
            raise SecretDenied
