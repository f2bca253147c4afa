"""One server for all that leave it well, each test with services of its own; gunicorn for those that hurt it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from devstack.server import ROOT, Server
from tests.browser.site import Site
from tests.client.both import BOTH, Client
from tests.client.support import Office, Shop
from tests.cluster.stack import BRISK as BRISK_SERVER
from tests.serving import BRISK, serving

NewClient = Callable[..., Client]
NewPair = Callable[..., list[Client]]


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Shop]:
    timings = replace(BRISK, heartbeat=10.0)  # a stream that is silent for three of them is given up
    with serving(tmp_path_factory.mktemp("client"), issuer, {"application.yml": "log: info\n"}, timings=timings) as one:
        yield Shop(one)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The web server of an application: a page, and the client's module beside it."""
    directory = tmp_path_factory.mktemp("site")
    for file in (Path(__file__).parent / "page" / "index.html", ROOT / "client" / "js" / "config-client.js"):
        shutil.copy(file, directory)
    running = Site(directory)
    yield running
    running.close()


@pytest.fixture(scope="session")
def office(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer, site: Site) -> Iterator[Office]:
    directory = tmp_path_factory.mktemp("office")
    origin = OriginRepo(directory / "origin")
    origin.write({"application.yml": "log: info\n"}, "first")
    settings = {"REPO_URL": origin.url, "ENVS": "production,staging", "GIT_WRITE": "true", "JWT_ISSUER": issuer.url}
    settings |= {"JWT_AUDIENCE": issuer.audience, "JWT_JWKS_URL": issuer.jwks_url, "STREAMS_PER_WORKER": "100"}
    (directory / "encrypt-key").write_text("e" * 40)
    settings |= {
        "ALLOWED_ORIGINS": site.origin,
        "ENCRYPT_KEY_FILE": str(directory / "encrypt-key"),
        "DECRYPT_ENDPOINT": "true",
    }
    server = Server(directory, settings, application=BRISK_SERVER).start()
    yield Office(server, origin, issuer)
    server.close()


@pytest.fixture(params=list(BOTH))
def new_client(request: pytest.FixtureRequest) -> Iterator[NewClient]:
    """Make a client of the kind that this run of the test is for; closed at its end."""
    with ExitStack() as closing:
        yield lambda **arguments: _made(closing, request.param, arguments)


@pytest.fixture
def new_pair() -> Iterator[NewPair]:
    """Make one of each kind, where a fault is to hit both at once."""
    with ExitStack() as closing:
        yield lambda **arguments: [_made(closing, kind, arguments) for kind in BOTH]


def _made(closing: ExitStack, kind: str, arguments: dict[str, Any]) -> Client:
    client: Client = BOTH[kind](**arguments)
    closing.callback(client.close)
    return client
