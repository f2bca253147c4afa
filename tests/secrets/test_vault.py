"""Reading from a real OpenBao: what is refused, and that nothing shows."""

from __future__ import annotations

import traceback
from uuid import uuid4

import pytest

from app.errors import ConfigServerError
from app.model import SecretPath
from app.secrets import (
    AppRole,
    Mount,
    NoSecretBackend,
    SecretDenied,
    SecretStore,
    VaultSecretBackend,
    value_of,
)
from devstack.bao import Bao
from tests.secrets.conftest import MakeBackend


def unique(folder: str = "services/pay/prod") -> SecretPath:
    return SecretPath("kv", f"{folder}/{uuid4().hex}")


def test_forbidden_path_is_denied_whole_and_looks_like_a_missing_one(bao: Bao, vault: VaultSecretBackend) -> None:
    path = unique("denied")
    bao.put(path.path, {"x": 1})
    with pytest.raises(SecretDenied) as forbidden:
        vault.read(path, 1)
    with pytest.raises(SecretDenied) as missing:
        vault.read(unique(), None)
    assert forbidden.value.whole_path
    assert str(forbidden.value) == str(missing.value)


def test_destroyed_version_is_denied(bao: Bao, vault: VaultSecretBackend) -> None:
    path = unique()
    bao.put(path.path, {"x": 1})
    bao.put(path.path, {"x": 2})
    bao.destroy(path.path, 2)
    with pytest.raises(SecretDenied):
        vault.read(path, 2)
    with pytest.raises(SecretDenied):
        vault.current_version(path)
    bao.destroy(path.path, 1)
    with pytest.raises(SecretDenied):
        vault.read(path, 1)


def test_version_that_will_be_deleted_later_is_still_current(bao: Bao, vault: VaultSecretBackend) -> None:
    path = unique()
    bao.root.secrets.kv.v2.update_metadata(path.path, delete_version_after="1h", mount_point="secret")
    bao.put(path.path, {"x": 1})
    assert vault.current_version(path) == 1


def test_metadata_that_is_forbidden_is_reported_and_the_data_read_instead(bao: Bao, make_backend: MakeBackend) -> None:
    events: list[str] = []
    vault = make_backend(
        bao.address, AppRole(bao.role_id, bao.secret_id()), on_event=lambda kind, _: events.append(kind)
    )
    path = unique("blind")
    bao.put(path.path, {"x": 1})
    bao.put(path.path, {"x": 2})
    assert vault.current_version(path) == 2
    assert events == ["login", "metadata_forbidden"]


@pytest.mark.parametrize(
    "path",
    ["../sys/policies/acl/config-server", "a/../../sys/mounts", "a/./b", "a//b", "a/%2e%2e/b", "/a", "a/", "", "a\nb"],
)
def test_path_that_is_not_plain_is_denied_without_asking(make_backend: MakeBackend, path: str) -> None:
    # Nothing listens there: asking would be SecretsUnavailable.
    vault = make_backend("http://127.0.0.1:9", AppRole("role", "id"))
    for ask in (lambda p: vault.read(p, None), vault.current_version):
        with pytest.raises(SecretDenied):
            ask(SecretPath("kv", path))


def test_alias_without_a_mount_is_denied_without_asking(make_backend: MakeBackend) -> None:
    vault = make_backend("http://127.0.0.1:9", AppRole("role", "id"))
    with pytest.raises(SecretDenied):
        vault.read(SecretPath("other", "a/b"), None)


def test_large_document_is_read_whole(bao: Bao, vault: VaultSecretBackend) -> None:
    path = unique()
    bao.put(path.path, {"blob": "x" * 500_000})
    assert len(str(vault.read(path, None)[0]["blob"])) == 500_000


def test_no_vault_refuses_everything_and_says_why() -> None:
    nothing = NoSecretBackend()
    for ask in (lambda p: nothing.read(p, None), nothing.current_version):
        with pytest.raises(SecretDenied, match="no Vault is configured"):
            ask(unique())


def test_key_that_the_document_lacks_is_denied(bao: Bao, vault: VaultSecretBackend) -> None:
    path = unique()
    bao.put(path.path, {"user": None})
    secret = SecretStore(vault, ttl=60, grace=0, digest_key=b"k").get(path, None)
    assert value_of(secret, "user") is None
    with pytest.raises(SecretDenied):
        value_of(secret, "password")


@pytest.mark.parametrize(
    "address",
    ["", "vault:8200", "ftp://vault", "http://", "http://user:pw@vault", "http://vault?token=x", "http://vault#x"],
)
def test_address_that_is_none_is_refused_at_construction(make_backend: MakeBackend, address: str) -> None:
    with pytest.raises(ValueError, match="address of Vault"):
        make_backend(address, AppRole("role", "id"))


@pytest.mark.parametrize(("path", "version"), [("secret", 3), ("../x", 2), ("", 1), ("a//b", 2)])
def test_mount_that_is_none_is_refused_at_construction(path: str, version: int) -> None:
    with pytest.raises(ValueError, match="mount"):
        Mount(path, version)


def test_errors_and_reprs_show_neither_paths_nor_credentials(bao: Bao, make_backend: MakeBackend) -> None:
    secret_id = bao.secret_id()
    role = AppRole(bao.role_id, secret_id)
    vault = make_backend(bao.address, role)
    path = unique("denied")
    shown = [repr(role), str(role), repr(vault)]
    for backend, asked in (
        (vault, path),
        (vault, SecretPath("kv", path.path + "-missing")),
        (make_backend(bao.address, AppRole(bao.role_id, secret_id + "-wrong")), path),
        (make_backend("http://127.0.0.1:9", role), path),
    ):
        with pytest.raises(ConfigServerError) as caught:
            backend.read(asked, None)
        shown += [repr(caught.value), *traceback.format_exception(caught.value)]
    everything = "\n".join(shown)
    for hidden in (path.path, secret_id, bao.role_id, "/v1/", bao.address):
        assert hidden not in everything
