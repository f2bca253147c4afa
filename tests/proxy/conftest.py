"""One server behind one nginx for all who leave them well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count

import pytest

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.server import Server
from tests.cluster.stack import Stack
from tests.proxy.nginx import Nginx

Front = Callable[[Server], Nginx]


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, bao: Bao, issuer: LocalIssuer) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("proxy"), bao, issuer)
    made.origin.write({"pay.yml": "n: 0\n"}, "the first")
    yield made
    made.close()


@pytest.fixture(scope="package")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Put an nginx in front of a server."""
    numbers = count()
    with ExitStack() as closing:

        def put(server: Server) -> Nginx:
            nginx = Nginx(tmp_path_factory.mktemp(f"nginx-{next(numbers)}"), server)
            closing.callback(nginx.close)
            return nginx.start()

        yield put


@pytest.fixture(scope="package")
def server(stack: Stack) -> Server:
    """Its heart beats once an hour, so what comes sooner comes by itself."""
    return stack.server(application="tests.proxy.app:app", WORKERS="1").start()


@pytest.fixture(scope="package")
def nginx(front: Front, server: Server) -> Nginx:
    return front(server)


@pytest.fixture
def token(stack: Stack) -> str:
    return stack.token("pay")
