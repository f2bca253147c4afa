"""A new secret_id in the server's file: tried before it counts, and never at the price of the old one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import hvac
import pytest

from app.errors import SecretsUnavailable
from app.model import SecretPath
from app.secrets import AppRole, Endpoint, RotationFailed, rotate
from devstack.bao import ROOT_TOKEN, Bao
from devstack.issuer import LocalIssuer
from devstack.server import ROOT
from tests.engine.vault_proxy import VaultProxy, running_proxy
from tests.secrets.conftest import MakeBackend
from tests.serving import serving

ROTATOR = ROOT / "config" / "demo" / "vault" / "secret-id-rotator.hcl"
DB = SecretPath("kv", "rotation/db")
#: Seconds to connect and to wait for an answer: the machine may be busy.
PATIENT = (10.0, 10.0)


class Host:
    """A host with a secret_id in a file, for a role of its own."""

    def __init__(self, bao: Bao, folder: Path) -> None:
        self.bao = bao
        self.role = f"host-{uuid4().hex}"
        self.role_id = bao.make_role(self.role, token_ttl="1h")
        self.file = folder / "secret-id"
        self.file.write_text(bao.secret_id(self.role))
        self.auth = AppRole(self.role_id, secret_id_file=str(self.file))
        bao.put(DB.path, {"password": "x"})

    def rotate(self, *, token: str = ROOT_TOKEN, address: str = "", auth: AppRole | None = None, role: str = "") -> int:
        endpoint = Endpoint(address or self.bao.address, timeouts=PATIENT)
        return rotate(endpoint, auth or self.auth, role or self.role, token).destroyed

    @property
    def secret_id(self) -> str:
        return self.file.read_text().strip()

    @property
    def alive(self) -> int:
        """How many secret_ids the role has."""
        try:
            return len(self.bao.root.auth.approle.list_secret_id_accessors(self.role)["data"]["keys"])
        except hvac.exceptions.InvalidPath:
            return 0

    def logs_in(self, secret_id: str | None = None) -> bool:
        client = hvac.Client(self.bao.address, token="")
        try:
            return bool(client.auth.approle.login(self.role_id, secret_id or self.secret_id)["auth"])
        except hvac.exceptions.InvalidRequest:
            return False
        finally:
            client.adapter.close()

    def revoke_tokens(self) -> None:
        """End every token of the role, so that whoever has one must log in."""
        root = self.bao.root
        for accessor in root.list("auth/token/accessors")["data"]["keys"]:
            # Another test's short-lived token may expire between the list and this look.
            with contextlib.suppress(hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden):
                about = root.auth.token.lookup_accessor(accessor)["data"]
                if (about["meta"] or {}).get("role_name") == self.role:
                    root.auth.token.revoke_accessor(accessor)

    @property
    def beside(self) -> list[str]:
        return sorted(each.name for each in self.file.parent.iterdir())


@pytest.fixture
def host(bao: Bao, tmp_path: Path) -> Host:
    return Host(bao, tmp_path)


@pytest.fixture
def proxy(bao: Bao) -> Iterator[VaultProxy]:
    with running_proxy(bao) as running:
        yield running


def test_the_new_secret_id_logs_in_and_the_old_one_is_gone(host: Host) -> None:
    host.file.chmod(0o640)
    old = host.secret_id
    assert host.rotate() == 1
    assert host.secret_id != old
    assert (host.logs_in(), host.logs_in(old), host.alive) == (True, False, 1)
    assert host.beside == ["secret-id"]
    assert stat.S_IMODE(host.file.stat().st_mode) == 0o640


def test_a_running_backend_takes_the_new_secret_id_at_its_next_login(host: Host, make_backend: MakeBackend) -> None:
    vault = make_backend(host.bao.address, host.auth)
    vault.read(DB, None)
    host.rotate()
    assert vault.read(DB, None)[1], "the token that it has is not touched"
    host.revoke_tokens()
    assert vault.read(DB, None)[1]


def test_a_login_that_read_the_file_just_before_the_rotation_tries_the_new_one(
    host: Host, proxy: VaultProxy, make_backend: MakeBackend
) -> None:
    def rotate_once() -> None:
        proxy.on_request = lambda: None
        host.rotate()

    proxy.on_request = rotate_once  # the login is under way, with the old one
    vault = make_backend(proxy.address, host.auth)
    assert vault.read(DB, None)[1]
    assert proxy.asked_for("/login") == 2


def test_the_first_secret_id_of_a_file_may_come_this_way_too(host: Host) -> None:
    host.file.write_text("\n")
    assert host.rotate() == 0
    assert host.logs_in()
    host.file.unlink()
    assert host.rotate() == 0
    assert host.logs_in()
    assert stat.S_IMODE(host.file.stat().st_mode) == 0o600


def test_a_secret_id_of_another_role_is_destroyed_and_not_used(host: Host) -> None:
    old, other = host.secret_id, f"other-{uuid4().hex}"
    host.bao.make_role(other)
    with pytest.raises(RotationFailed, match="VAULT_ROLE_ID"):
        host.rotate(role=other)
    assert (host.secret_id, host.logs_in(old), host.beside) == (old, True, ["secret-id"])
    with pytest.raises(hvac.exceptions.InvalidPath):
        host.bao.root.auth.approle.list_secret_id_accessors(other)


def test_a_secret_id_that_one_login_uses_up_is_not_put_in_place(host: Host) -> None:
    host.bao.make_role(host.role, secret_id_num_uses=1)
    old = host.secret_id
    with pytest.raises(RotationFailed, match="secret_id_num_uses"):
        host.rotate()
    assert (host.secret_id, host.logs_in(old), host.beside) == (old, True, ["secret-id"])


def test_the_policy_for_rotating_suffices_and_opens_nothing_else(host: Host) -> None:
    root = host.bao.root
    root.sys.create_or_update_policy("rotator", ROTATOR.read_text().replace("/config-server/", f"/{host.role}/"))
    token = root.auth.token.create(policies=["rotator"], no_default_policy=True)["auth"]["client_token"]
    assert host.rotate(token=token) == 1
    assert host.logs_in()
    rotator = hvac.Client(host.bao.address, token=token)
    with pytest.raises(hvac.exceptions.Forbidden):
        rotator.secrets.kv.v2.read_secret_version(DB.path, raise_on_deleted_version=True)
    with pytest.raises(hvac.exceptions.Forbidden):
        rotator.auth.approle.create_or_update_approle(host.role, token_policies=["root"])
    rotator.adapter.close()


def test_a_token_without_the_right_changes_nothing_and_is_told_so(host: Host) -> None:
    token = host.bao.root.auth.token.create(policies=["default"])["auth"]["client_token"]
    old = host.secret_id
    with pytest.raises(RotationFailed, match="the token may not do that"):
        host.rotate(token=token)
    assert (host.secret_id, host.alive, host.beside) == (old, 1, ["secret-id"])


def test_what_cannot_be_rotated_is_refused_with_the_reason(host: Host) -> None:
    secret_id = host.secret_id
    with pytest.raises(RotationFailed, match="in a file"):
        host.rotate(auth=AppRole(host.role_id, secret_id))
    with pytest.raises(RotationFailed, match="not wrapped"):
        host.rotate(auth=AppRole(host.role_id, secret_id_file=str(host.file), wrapped=True))
    with pytest.raises(RotationFailed, match="name of an AppRole"):
        host.rotate(role="../../token/create")
    with pytest.raises(RotationFailed, match="no such AppRole"):
        host.rotate(role="nobody")
    with pytest.raises(RotationFailed, match="cannot be reached"):
        host.rotate(address="http://127.0.0.1:9")
    link = host.file.with_name("link")
    link.symlink_to(host.file)
    with pytest.raises(RotationFailed, match="is a link"):
        host.rotate(auth=AppRole(host.role_id, secret_id_file=str(link)))
    assert (host.secret_id, host.alive) == (secret_id, 1)


def test_two_rotations_of_one_file_do_not_meet(host: Host) -> None:
    folder = os.open(host.file.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        with pytest.raises(RotationFailed, match="another rotation"):
            host.rotate()
    finally:
        os.close(folder)
    assert host.rotate() == 1


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["on_request", "on_answer"])
def test_a_rotation_that_is_killed_anywhere_leaves_a_secret_id_that_works_and_the_next_clears_up(
    host: Host, proxy: VaultProxy, moment: str
) -> None:
    killed_at = 0
    while True:
        killed_at += 1
        code, asked = _rotated_but_killed(host, proxy, moment, killed_at)
        assert host.logs_in(), f"killed at request {killed_at}: {proxy.asked}"
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert host.rotate() >= 1
        assert (host.logs_in(), host.alive, host.beside) == (True, 1, ["secret-id"])
    assert killed_at == asked + 1 >= 6
    assert (host.alive, host.beside) == (1, ["secret-id"])


def _rotated_but_killed(host: Host, proxy: VaultProxy, moment: str, at: int) -> tuple[int, int]:
    """Rotate in a process that is killed at its request number `at`; its exit code, and how many it made."""
    code = (
        "import sys; from app.secrets import AppRole, Endpoint, rotate;"
        f"vault = Endpoint(sys.argv[1], timeouts={PATIENT});"
        "rotate(vault, AppRole(sys.argv[2], secret_id_file=sys.argv[3]), sys.argv[4], sys.argv[5])"
    )
    arguments = [proxy.address, host.role_id, str(host.file), host.role, ROOT_TOKEN]
    proxy.asked.clear()
    with subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT) as process:

        def kill() -> None:
            if len(proxy.asked) == at:
                process.kill()
                process.wait(60)
                if moment == "on_request":
                    raise ConnectionAbortedError("it never said it")

        setattr(proxy, moment, kill)
        return process.wait(100), len(proxy.asked)


def test_a_token_file_that_is_missing_makes_no_login(host: Host, make_backend: MakeBackend) -> None:
    host.file.unlink()
    with pytest.raises(SecretsUnavailable, match="cannot be read"):
        make_backend(host.bao.address, host.auth).read(DB, None)


def run(host: Host, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`python -m app approle rotate` with the settings of a server."""
    given = {
        "REPO_URL": "https://git.example/config.git",
        "JWT_ISSUER": "i",
        "JWT_AUDIENCE": "a",
        "JWT_DISCOVERY": "true",
        "VAULT_ADDR": host.bao.address,
        "VAULT_ROLE_ID": host.role_id,
        "VAULT_SECRET_ID_FILE": str(host.file),
        **settings,
    }
    env = {"PATH": os.environ["PATH"], **{f"CONFIG_SERVER_{name}": value for name, value in given.items() if value}}
    command = [sys.executable, "-m", "app", "approle", "rotate", *arguments]
    env["VAULT_TOKEN"] = ROOT_TOKEN
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_command_rotates_under_a_running_server_which_needs_no_restart(
    host: Host, issuer: LocalIssuer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    host.bao.put("services/pay/prod/rotated", {"password": "x"})
    settings: dict[str, Any] = {
        "vault_addr": host.bao.address,
        "vault_role_id": host.role_id,
        "vault_secret_id_file": host.file,
        "secret_grace_seconds": 0.0,
    }
    files = {"pay.yml": "a: ${vault:kv/services/pay/prod/rotated#password}\n"}
    with serving(tmp_path_factory.mktemp("server"), issuer, files, **settings) as running:
        assert running.config("pay/prod") == {"a": "x"}
        old = host.secret_id
        done = run(host, "--role", host.role)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert not any(secret in done.stdout for secret in (old, host.secret_id, ROOT_TOKEN))
        assert not host.logs_in(old)
        host.revoke_tokens()
        running.server.services.secrets.forget_all()  # as the TTL does after a minute
        assert running.config("pay/prod") == {"a": "x"}


@pytest.mark.slow
def test_the_command_says_in_one_sentence_what_is_wrong(host: Host, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    old = host.secret_id
    for done, reason in (
        (run(host, "--role", host.role, "--token-file", str(empty)), "no token: give --token-file"),
        (run(host, "--role", host.role, VAULT_ADDR=""), "name no Vault"),
        (run(host, "--role", host.role, VAULT_ADDR="http://127.0.0.1:9"), "run this again when Vault answers"),
    ):
        assert (done.returncode, reason in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr
    assert (host.secret_id, host.alive) == (old, 1)
