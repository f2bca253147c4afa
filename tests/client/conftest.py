"""One server for all that leave it well, each test with services of its own; gunicorn for those that hurt it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from devstack.issuer import LocalIssuer
from tests.client.support import Shop
from tests.serving import BRISK, serving


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Shop]:
    timings = replace(BRISK, heartbeat=1.0)
    with serving(tmp_path_factory.mktemp("client"), issuer, {"application.yml": "log: info\n"}, timings=timings) as one:
        yield Shop(one)
