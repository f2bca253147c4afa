"""Fixtures of the rooms that talk to Redis: one Valkey for many tests, and one of its own for a test that breaks it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from app.cache import RedisLink
from devstack.valkey import Valkey

_namespaces = itertools.count(1)

MakeLink = Callable[..., RedisLink]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """Tests share it, each in a namespace of its own; who stops it takes `own_valkey`."""
    with closing(Valkey(tmp_path_factory.mktemp("valkey")).start()) as server:
        yield server


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    with closing(Valkey(tmp_path / "valkey").start()) as server:
        yield server


@pytest.fixture
def make_link() -> Iterator[MakeLink]:
    """Links to a server; those of one test stand in one namespace, which is no other test's. Their timeout is
    generous, as the machine may be busy."""
    namespace = f"test-{next(_namespaces)}"
    with ExitStack() as stack:

        def make(server: Valkey, *, timeout: float = 5.0, pause: float = 0.2) -> RedisLink:
            link = RedisLink(server.url, namespace=namespace, timeout=timeout, pause=pause)
            stack.callback(link.close)
            return link

        yield make


@pytest.fixture
def link(valkey: Valkey, make_link: MakeLink) -> RedisLink:
    """A link to the shared server."""
    return make_link(valkey)
