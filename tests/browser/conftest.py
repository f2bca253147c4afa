"""One browser, one site and one server for all; each test has streams and services of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.server import Server
from tests.browser.chromium import Chromium
from tests.browser.pages import AppPage
from tests.browser.site import Site
from tests.cluster.stack import BRISK, Stack

NewPage = Callable[[], AppPage]


@pytest.fixture(scope="package")
def site() -> Iterator[Site]:
    running = Site()
    yield running
    running.close()


@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser.start()
    browser.close()


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, bao: Bao, issuer: LocalIssuer) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("browser"), bao, issuer)
    made.origin.write({"application.yml": "log: info\n"}, "the first")
    yield made
    made.close()


@pytest.fixture(scope="package")
def server(stack: Stack, site: Site) -> Server:
    """Two workers, a heartbeat a second. A token ends when it says so: both ends have the same clock here."""
    settings = {"ALLOWED_ORIGINS": site.origin, "JWT_LEEWAY_SECONDS": "0", "LOG_LEVEL": "debug"}
    return stack.server(application=BRISK, **settings).start()


@pytest.fixture
def foreign_page(chromium: Chromium, server: Server, site: Site) -> Iterator[AppPage]:
    """The same page, by the name of its site that the server does not allow."""
    page = AppPage(chromium.open(f"{site.foreign_origin}/?server={server.url}"))
    yield page
    page.close()


@pytest.fixture
def new_page(chromium: Chromium, server: Server, site: Site) -> Iterator[NewPage]:
    """Open a page beside the shared one."""
    with ExitStack() as closing:

        def opened() -> AppPage:
            page = AppPage(chromium.open(f"{site.origin}/?server={server.url}"))
            closing.callback(page.close)
            return page

        yield opened


@pytest.fixture(scope="package")
def shared_page(chromium: Chromium, server: Server, site: Site) -> Iterator[AppPage]:
    page = AppPage(chromium.open(f"{site.origin}/?server={server.url}"))
    yield page
    page.close()


@pytest.fixture
def page(shared_page: AppPage) -> Iterator[AppPage]:
    """A page that the server allows, without a stream."""
    yield shared_page
    shared_page.leave_all()
