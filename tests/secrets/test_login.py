"""The life of the token, against a real OpenBao."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import hvac
import pytest

from app.errors import SecretsUnavailable
from app.model import SecretPath
from app.secrets import AppRole, SecretDenied
from devstack.bao import POLICY, ROOT_TOKEN, Bao
from tests.secrets.conftest import MakeBackend
from tests.secrets.fakes import Clock

DB = SecretPath("kv", "login/db")
HOUR = 3600


class Account:
    """A role of its own with a document to read, and the tokens that Vault has given it."""

    def __init__(self, bao: Bao, **options: Any) -> None:
        self.bao = bao
        self.role = f"role-{uuid4().hex}"
        self.role_id = bao.make_role(self.role, **options)
        self.events: list[tuple[str, str]] = []
        bao.put(DB.path, {"password": "x"})

    def auth(self, **options: Any) -> AppRole:
        return AppRole(self.role_id, self.bao.secret_id(self.role), **options)

    def on_event(self, kind: str, detail: str) -> None:
        self.events.append((kind, detail))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]

    @property
    def tokens(self) -> list[dict[str, Any]]:
        """What Vault knows of each living token of the role."""
        root = self.bao.root
        about = []
        for accessor in root.list("auth/token/accessors")["data"]["keys"]:
            # Another test's short-lived token may expire between the list and this look: 400, and in the act 403.
            with contextlib.suppress(hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden):
                about.append(root.auth.token.lookup_accessor(accessor)["data"])
        return [one for one in about if (one["meta"] or {}).get("role_name") == self.role]

    def revoke(self) -> None:
        for token in self.tokens:
            self.bao.root.auth.token.revoke_accessor(token["accessor"])


@pytest.fixture
def account(bao: Bao) -> Account:
    return Account(bao, token_ttl="1h", token_max_ttl="4h")


def test_login_waits_for_the_first_read_and_happens_once(account: Account, make_backend: MakeBackend) -> None:
    vault = make_backend(account.bao.address, account.auth(), on_event=account.on_event)
    vault.keep_alive()
    assert account.tokens == []
    vault.read(DB, None)
    vault.read(DB, None)
    assert len(account.tokens) == 1
    assert account.kinds == ["login"]


def test_many_first_readers_share_one_login(account: Account, make_backend: MakeBackend) -> None:
    vault = make_backend(account.bao.address, account.auth())
    together = threading.Barrier(12)

    def read() -> int:
        together.wait(60)
        return vault.read(DB, None)[1]

    with ThreadPoolExecutor(12) as pool:
        assert all(one.result(60) for one in [pool.submit(read) for _ in range(12)])
    assert len(account.tokens) == 1


@pytest.mark.parametrize("use", ["read", "keep_alive"])
def test_token_is_renewed_at_two_thirds_of_its_ttl(account: Account, make_backend: MakeBackend, use: str) -> None:
    clock = Clock()
    vault = make_backend(account.bao.address, account.auth(), clock=clock)
    act = {"read": lambda: vault.read(DB, None), "keep_alive": vault.keep_alive}[use]
    vault.read(DB, None)
    clock.advance(HOUR * 2 / 3 - 1)
    act()
    assert "last_renewal_time" not in account.tokens[0]
    clock.advance(1)
    act()
    act()
    assert len(account.tokens) == 1
    assert account.tokens[0]["last_renewal_time"] > 0


def test_renewal_that_grants_less_is_followed_by_a_login(account: Account, make_backend: MakeBackend) -> None:
    clock = Clock()
    vault = make_backend(account.bao.address, account.auth(), clock=clock, on_event=account.on_event)
    vault.read(DB, None)
    account.bao.make_role(account.role, token_ttl="10m", token_max_ttl="10m")
    clock.advance(HOUR * 2 / 3)
    vault.keep_alive()
    assert account.kinds == ["login", "login"]
    assert vault.read(DB, None)[1]


def test_renewal_that_is_refused_is_followed_by_a_login(account: Account, make_backend: MakeBackend) -> None:
    clock = Clock()
    vault = make_backend(account.bao.address, account.auth(), clock=clock, on_event=account.on_event)
    vault.read(DB, None)
    account.revoke()
    clock.advance(HOUR * 2 / 3)
    vault.keep_alive()
    assert account.kinds == ["login", "login"]
    assert len(account.tokens) == 1


@pytest.mark.slow
def test_reads_go_on_past_the_maximum_ttl(bao: Bao, make_backend: MakeBackend) -> None:
    account = Account(bao, token_ttl="1s", token_max_ttl="2s")
    vault = make_backend(bao.address, account.auth(), on_event=account.on_event)
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < 3.2:
        assert vault.read(DB, None)[1]
    assert set(account.kinds) == {"login"}
    assert 2 <= len(account.kinds) <= 3 + elapsed / (2 / 3)  # no token is replaced before two thirds of its TTL


def test_token_that_cannot_be_renewed_is_replaced_in_time(bao: Bao, make_backend: MakeBackend) -> None:
    account = Account(bao, token_ttl="1h", token_type="batch")
    clock = Clock()
    vault = make_backend(bao.address, account.auth(), clock=clock, on_event=account.on_event)
    vault.read(DB, None)
    clock.advance(HOUR * 2 / 3)
    vault.keep_alive()
    assert account.kinds == ["login", "login"]


def test_revoked_token_leads_to_one_login_and_the_read_succeeds(account: Account, make_backend: MakeBackend) -> None:
    vault = make_backend(account.bao.address, account.auth(), on_event=account.on_event)
    vault.read(DB, None)
    account.revoke()
    with ThreadPoolExecutor(8) as pool:
        answers = [one.result(60) for one in [pool.submit(vault.read, DB, None) for _ in range(8)]]
    assert all(version for _, version in answers)
    assert account.kinds == ["login", "login"]


def test_revoked_token_is_noticed_by_the_version_watch_without_blaming_the_policy(
    account: Account, make_backend: MakeBackend
) -> None:
    vault = make_backend(account.bao.address, account.auth(), on_event=account.on_event)
    vault.read(DB, None)
    account.revoke()
    assert vault.current_version(DB)
    assert account.kinds == ["login", "login"]


def test_denials_do_not_become_a_storm_of_logins(account: Account, make_backend: MakeBackend) -> None:
    clock = Clock()
    vault = make_backend(account.bao.address, account.auth(), clock=clock, on_event=account.on_event, patience=60)
    for _ in range(5):
        with pytest.raises(SecretDenied):
            vault.read(SecretPath("kv", "denied/x"), None)
    assert account.kinds == ["login"]
    clock.advance(60)
    for _ in range(5):
        with pytest.raises(SecretDenied):
            vault.read(SecretPath("kv", "denied/x"), None)
    assert account.kinds == ["login", "login"]


def test_new_policies_of_the_role_arrive_by_a_new_login(account: Account, make_backend: MakeBackend) -> None:
    root = account.bao.root
    root.auth.approle.create_or_update_approle(account.role, token_policies=["default"])
    clock = Clock()
    vault = make_backend(account.bao.address, account.auth(), clock=clock)
    with pytest.raises(SecretDenied):
        vault.read(DB, None)
    account.bao.make_role(account.role)
    clock.advance(60)
    assert vault.read(DB, None)[1]


def test_living_token_that_is_refused_stays_refused_when_no_login_succeeds(
    account: Account, make_backend: MakeBackend
) -> None:
    clock = Clock()
    auth = account.auth()
    vault = make_backend(account.bao.address, auth, clock=clock)
    vault.read(DB, None)
    account.bao.root.auth.approle.destroy_secret_id(account.role, auth.secret_id)
    clock.advance(60)
    with pytest.raises(SecretDenied):
        vault.read(SecretPath("kv", "denied/x"), None)
    assert vault.read(DB, None)[1]


def test_bad_secret_id_is_unavailable_and_reported(account: Account, make_backend: MakeBackend) -> None:
    vault = make_backend(account.bao.address, AppRole(account.role_id, "wrong"), on_event=account.on_event)
    with pytest.raises(SecretsUnavailable):
        vault.read(DB, None)
    assert account.events == [("login_failed", "Vault refuses our login")]


def test_secret_id_file_is_read_again_at_each_login(
    account: Account, make_backend: MakeBackend, tmp_path: Path
) -> None:
    file = tmp_path / "secret_id"
    vault = make_backend(
        account.bao.address, AppRole(account.role_id, secret_id_file=str(file)), on_event=account.on_event
    )
    for content in (None, b"wrong\n", b"\xff"):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(SecretsUnavailable):
            vault.read(DB, None)
    file.write_text(account.bao.secret_id(account.role) + "\n")
    assert vault.read(DB, None)[1]
    assert account.kinds == ["login_failed"] * 3 + ["login"]
    assert str(tmp_path) not in str(account.events)


def test_wrapped_secret_id_is_opened_once_and_kept_for_the_next_login(
    account: Account, make_backend: MakeBackend
) -> None:
    auth = AppRole(account.role_id, account.bao.wrapped_secret_id(account.role), wrapped=True)
    vault = make_backend(account.bao.address, auth, on_event=account.on_event)
    vault.read(DB, None)
    account.revoke()
    vault.read(DB, None)
    assert account.kinds == ["login", "login"]


def test_newly_delivered_wrapping_token_is_opened(account: Account, make_backend: MakeBackend, tmp_path: Path) -> None:
    file = tmp_path / "wrapped"
    file.write_text(account.bao.wrapped_secret_id(account.role))
    auth = AppRole(account.role_id, secret_id_file=str(file), wrapped=True)
    vault = make_backend(account.bao.address, auth)
    vault.read(DB, None)
    account.revoke()
    file.write_text(account.bao.wrapped_secret_id(account.role))
    vault.read(DB, None)
    with pytest.raises(SecretsUnavailable, match="used, expired or unknown"):
        make_backend(account.bao.address, auth).read(DB, None)


def test_wrapping_token_made_elsewhere_is_not_opened(account: Account, make_backend: MakeBackend) -> None:
    wrapped = account.bao.root.sys.wrap({"secret_id": account.bao.secret_id(account.role)}, ttl=60)
    token = wrapped["wrap_info"]["token"]
    vault = make_backend(account.bao.address, AppRole(account.role_id, token, wrapped=True), on_event=account.on_event)
    with pytest.raises(SecretsUnavailable):
        vault.read(DB, None)
    assert account.events == [("login_failed", "the wrapping token was not made for a secret_id of our AppRole mount")]
    assert account.bao.root.sys.unwrap(token)["data"]["secret_id"]


def test_wrapping_token_from_a_path_that_only_ends_like_ours_is_not_opened(
    account: Account, make_backend: MakeBackend
) -> None:
    """Whoever may write somewhere may name the place as they like."""
    path = f"auth/approle/role/{account.role}/secret-id"
    account.bao.put(path, {"secret_id": account.bao.secret_id(account.role)}, mount="kv1")
    wrapped = account.bao.root.adapter.get(f"/v1/kv1/{path}", wrap_ttl="60s")
    token = wrapped["wrap_info"]["token"]
    with pytest.raises(SecretsUnavailable, match="was not made for a secret_id of our AppRole mount"):
        make_backend(account.bao.address, AppRole(account.role_id, token, wrapped=True)).read(DB, None)


@pytest.mark.parametrize(
    "options",
    [
        {"secret_id": "a", "secret_id_file": "b"},
        {"wrapped": True},
        {"secret_id": "a", "mount": "../x"},
    ],
)
def test_credentials_that_cannot_be_meant_are_refused_at_construction(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"secret_id|mount"):
        AppRole("role", **options)


def test_namespace_holds_for_login_unwrapping_and_reading(bao: Bao, make_backend: MakeBackend) -> None:
    bao.root.adapter.post("/v1/sys/namespaces/team")
    team = hvac.Client(bao.address, token=ROOT_TOKEN, namespace="team")
    team.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
    team.sys.enable_auth_method("approle")
    team.sys.create_or_update_policy("config-server", POLICY)
    team.auth.approle.create_or_update_approle("team", token_policies=["config-server"])
    team.secrets.kv.v2.create_or_update_secret(DB.path, {"password": "of the team"})
    role_id = team.auth.approle.read_role_id("team")["data"]["role_id"]
    wrapped = team.adapter.post("/v1/auth/approle/role/team/secret-id", wrap_ttl="60s")["wrap_info"]
    team.adapter.close()
    auth = AppRole(role_id, wrapped["token"], wrapped=True)
    vault = make_backend(bao.address, auth, namespace="team")
    assert vault.read(DB, None)[0] == {"password": "of the team"}
