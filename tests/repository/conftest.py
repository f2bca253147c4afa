"""A real origin, and a backend over it, for every test of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.repository import GitConfigBackend, GitCredentials
from devstack.origin import OriginRepo


@pytest.fixture
def origin(tmp_path: Path) -> OriginRepo:
    return OriginRepo(tmp_path / "origin")


MakeBackend = Callable[..., GitConfigBackend]


@pytest.fixture
def make_backend(tmp_path: Path) -> Iterator[MakeBackend]:
    """Backends over one mirror folder, as several workers of a host have; closed at the end."""
    made: list[GitConfigBackend] = []

    def make(
        url: str,
        *,
        credentials: GitCredentials | None = None,
        timeout: float = 60,
        clone_timeout: float = 60,
        clock: Callable[[], float] = lambda: 1_700_000_000.0,
    ) -> GitConfigBackend:
        backend = GitConfigBackend(
            url,
            tmp_path / "mirror",
            credentials=credentials or GitCredentials(),
            timeout=timeout,
            clone_timeout=clone_timeout,
            clock=clock,
        )
        made.append(backend)
        return backend

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def backend(origin: OriginRepo, make_backend: MakeBackend) -> GitConfigBackend:
    return make_backend(origin.url)
