"""Backends on the shared OpenBao, closed after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import pytest

from app.secrets import AppRole, Mount, VaultSecretBackend
from devstack.bao import Bao

MOUNTS = {"kv": Mount("secret", 2), "old": Mount("kv1", 1)}
MakeBackend: TypeAlias = Callable[..., VaultSecretBackend]


@pytest.fixture
def make_backend() -> Iterator[MakeBackend]:
    """Makes a VaultSecretBackend for an address and an AppRole; options are passed on. Its timeouts are generous, as
    the machine may be busy."""
    with ExitStack() as stack:

        def make(address: str, auth: AppRole, **options: Any) -> VaultSecretBackend:
            backend = VaultSecretBackend(address, auth=auth, mounts=MOUNTS, **{"timeouts": (10.0, 10.0), **options})
            stack.callback(backend.close)
            return backend

        yield make


@pytest.fixture
def vault(bao: Bao, make_backend: MakeBackend) -> VaultSecretBackend:
    """A backend logged in as the ordinary role when first used."""
    return make_backend(bao.address, AppRole(bao.role_id, bao.secret_id()))
