"""One issuer and one verifier for the tests that leave them as they are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devstack.issuer import LocalIssuer
from tests.access.support import Gate, opened


@pytest.fixture(scope="session")
def issuer() -> Iterator[LocalIssuer]:
    with LocalIssuer() as server:
        yield server


@pytest.fixture(scope="session")
def stranger() -> Iterator[LocalIssuer]:
    """An issuer that nobody trusts."""
    with LocalIssuer() as server:
        yield server


@pytest.fixture
def own_issuer() -> Iterator[LocalIssuer]:
    """An issuer of the test's own, to rotate and to break."""
    with LocalIssuer() as server:
        yield server


@pytest.fixture(scope="session")
def gate(issuer: LocalIssuer) -> Iterator[Gate]:
    with opened(issuer) as made:
        yield made
