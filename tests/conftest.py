"""Real servers, started once per test run and only when a test asks for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from devstack.bao import Bao, running_bao
from devstack.issuer import LocalIssuer
from tests.no_skips import pytest_make_collect_report, pytest_runtest_makereport

#: Tests of servers of several processes, a browser or nginx: for `make test`. test_push stays for every day.
SLOW_FOLDERS = {"browser", "cluster", "proxy"}
#: And files that take long for what they are: each test begins a server, a command or a repository of its own.
SLOW_FILES = {
    "changes/test_changes.py",
    "changes/test_restore.py",
    "client/test_cli.py",
    "client/test_clients.py",
    "engine/test_overview.py",
    "engine/test_rollouts.py",
    "engine/test_schemas.py",
    "engine/test_signed.py",
    "engine/test_trail.py",
    "engine/test_transit.py",
    "engine/test_vault_faults.py",
    "further/test_reads.py",
    "notify/test_session_rules.py",
    "observability/test_log_of_a_server.py",
    "repository/test_credentials.py",
    "repository/test_reading.py",
    "repository/test_writer.py",
    "secrets/test_service_tokens.py",
    "spring/test_encryption.py",
    "tests/test_cli.py",
    "tests/test_serve.py",
    "tests/test_two_versions.py",
}

# How fast this machine is just now is nobody's fault: an example may take as long as it takes.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long first, so that none of several processes is left alone with them in the end."""
    for item in items:
        if item.path.parent.name in SLOW_FOLDERS and item.path.name != "test_push.py":
            item.add_marker("slow")
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
    for item in items:
        if "/".join(item.path.parts[-2:]) in SLOW_FILES:
            item.add_marker("slow")


__all__ = ["bao", "pytest_make_collect_report", "pytest_runtest_makereport"]


@pytest.fixture(scope="session")
def bao() -> Iterator[Bao]:
    """One OpenBao for all; a test that seals or kills it starts its own with `running_bao`."""
    with running_bao() as server:
        yield server


@pytest.fixture(scope="session")
def issuer() -> Iterator[LocalIssuer]:
    """One identity provider for all; a test that breaks it or rotates its keys starts its own."""
    with LocalIssuer() as server:
        yield server
