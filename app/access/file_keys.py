"""Verification keys from a file that the operator puts in place, and may replace while the server runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from jwt import PyJWK

from app.access.jwk import KeySet, parse_jwks, parse_pem
from app.access.keys import KeyStatus


class FileKeys:
    """The key in a PEM file (for every key id), or the keys in a JWKS file; read again when it changes. Thread-safe."""

    def __init__(
        self,
        path: Path,
        *,
        algorithms: Iterable[str],
        clock: Callable[[], float] = time.monotonic,
        look_seconds: float = 1.0,
    ) -> None:
        """Read `path`, and look for a change at most every `look_seconds`. Raises ValueError when it holds no key."""
        self._path = path
        self._algorithms = tuple(algorithms)
        self._clock = clock
        self._look_seconds = look_seconds
        self._problem: str | None = None
        try:
            self._stamp = self._stat()
            self._keys = self._read()
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror}") from error
        self._looked = self._confirmed = clock()

    def key(self, kid: str | None, algorithm: str) -> PyJWK:
        """See Keys."""
        self._look()
        return self._keys.find(kid, algorithm)

    def status(self) -> KeyStatus:
        self._look()
        return KeyStatus(len(self._keys), self._clock() - self._confirmed, self._problem)

    def start(self) -> None:
        """Nothing to start: the file is read by whoever asks."""

    def close(self) -> None:
        """Nothing to stop."""

    def _look(self) -> None:
        """Two threads may look at once; they read the same file, and the reference is swapped whole."""
        now = self._clock()
        if now - self._looked < self._look_seconds:
            return
        self._looked = now
        try:
            stamp = self._stat()
            if stamp != self._stamp:
                self._keys, self._stamp = self._read(), stamp
        except OSError as error:
            self._problem = f"the key file cannot be read ({type(error).__name__})"
        except ValueError as error:
            self._problem = f"the key file: {error}"  # half written, or wrong: the former keys stay
        else:
            self._problem = None
            self._confirmed = now

    def _stat(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> KeySet:
        text = self._path.read_bytes()
        parse = parse_jwks if text.lstrip().startswith(b"{") else parse_pem
        keys = parse(text, self._algorithms)
        if not len(keys):
            raise ValueError("no key for the allowed algorithms")
        return keys
