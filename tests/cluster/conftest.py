"""The parts that these tests share: one server of two workers for all that leave it well, own ones for the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.server import Server
from devstack.valkey import Valkey
from tests.cluster.stack import PATIENT, Stack

NewStack = Callable[..., Stack]


@pytest.fixture(scope="session")
def issuer() -> Iterator[LocalIssuer]:
    with LocalIssuer() as running:
        yield running


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """One for all who do not hurt it; every stack has a namespace of its own in it."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    yield server.start()
    server.close()


@pytest.fixture(scope="session")
def new_stack(
    tmp_path_factory: pytest.TempPathFactory, bao: Bao, issuer: LocalIssuer, valkey: Valkey
) -> Iterator[NewStack]:
    """Make a stack; parts that a test will hurt are given by it (`valkey=None` for one of its own)."""
    numbers = count()
    with ExitStack() as closing:

        def made(*, bao: Bao = bao, issuer: LocalIssuer = issuer, valkey: Valkey | None = valkey) -> Stack:
            directory: Path = tmp_path_factory.mktemp(f"stack-{next(numbers)}")
            stack = Stack(directory, bao, issuer, valkey=valkey)
            closing.callback(stack.close)
            return stack

        yield made


@pytest.fixture(scope="session")
def shared(new_stack: NewStack) -> Stack:
    """The stack of `duo`. Each test uses services of its own, so that it sees its own changes only."""
    stack = new_stack()
    stack.origin.write({"application.yml": "log: info\n"}, "the first")
    return stack


@pytest.fixture(scope="session")
def duo(shared: Stack) -> Server:
    """Two workers that every test leaves in good health."""
    return shared.server(application=PATIENT, ALLOWED_ORIGINS="https://ui.example.org").start()


@pytest.fixture
def stack(new_stack: NewStack) -> Iterator[Stack]:
    """One for this test alone, on the shared Valkey and OpenBao."""
    made = new_stack()
    yield made
    made.close()
