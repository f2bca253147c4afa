"""One issuer and one verifier for the tests that leave them as they are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.access import JwksKeys
from devstack.issuer import LocalIssuer
from tests.access.support import ALGORITHMS, Clock, Gate, opened


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
    """Its keys are those of its start, however long the tests take: no unknown key id makes it look again."""
    with opened(issuer, keys=JwksKeys(issuer.jwks_url, algorithms=ALGORITHMS, clock=Clock())) as made:
        yield made
