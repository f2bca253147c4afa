"""One server for all tests that only add services of their own to its repository."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from tests.engine.vault_proxy import VaultProxy, running_proxy
from tests.serving import Serving, serving
from tests.valkeys import own_valkey, valkey

__all__ = ["own_valkey", "valkey"]


@pytest.fixture(scope="session")
def vault(bao: Bao) -> Iterator[VaultProxy]:
    """The shared OpenBao, behind a proxy that counts."""
    with running_proxy(bao) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer, vault: VaultProxy) -> Iterator[Serving]:
    """A server on branch main, whose secrets are in the shared OpenBao; `release` is protected too."""
    files = {"application.yml": "shared: 1\n"}
    directory = tmp_path_factory.mktemp("bench")
    mounts = {"kv": ("secret", 2), "old": ("kv1", 1)}
    with serving(directory, issuer, files, vault=vault, vault_mounts=mounts, secret_labels=("release",)) as running:
        yield running
