from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cache import RedisLink
from app.notify import CursorStore, LocalCursorStore, RedisCursorStore
from tests.notify.stage import Stage
from tests.valkeys import link, make_link, own_valkey, valkey

__all__ = ["link", "make_link", "own_valkey", "valkey"]


@pytest.fixture(params=["local", "redis"])
def store(request: pytest.FixtureRequest) -> CursorStore:
    """The same contract holds for both."""
    if request.param == "local":
        return LocalCursorStore()
    redis_link: RedisLink = request.getfixturevalue("link")
    return RedisCursorStore(redis_link, "default")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as running:
        yield running
