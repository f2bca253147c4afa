"""Everything the demo runs: a Git origin, Valkey, OpenBao, an identity provider, and the server with two workers."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import hvac

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo, git
from devstack.processes import NotReady, free_port
from devstack.server import PREFIX, ROOT, Server
from devstack.valkey import Valkey

DEMO = ROOT / "config" / "demo"
ENVS = ("production", "staging")
#: Fields that the demo's configuration refers to: mount -> path -> names. The values are random at each start.
SECRETS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "secret": {
        **{f"services/payment-service/{env}/db": ("password",) for env in ENVS},
        **{f"services/web-frontend/{env}/session": ("secret",) for env in ENVS},
        **{f"shared/{env}/messaging": ("password",) for env in ENVS},
        "services/payment-service/production/provider": ("key",),
    },
    "legacy": {f"services/order-service/{env}/warehouse": ("key",) for env in ENVS},
}
#: What is no secret but lies beside one.
FIELDS = {"services/payment-service/production/db": {"username": "payments"}}

Tell = Callable[[str, str], None]


class Stack:
    """The whole of it under one directory (`run`), which it wipes at its start. Not thread-safe."""

    def __init__(self, run: Path, *, port: int = 8000, keep: bool = False) -> None:
        """`port` is taken if it is free, else any; with `keep` the configuration repository is left as it is."""
        self.run = run
        self.tokens = run / "tokens"
        self.work = run / "git" / "work"
        self._keys = run / "keys"
        self._keep = keep
        self._port = port
        self._closing = ExitStack()
        self.server: Server
        self.bao: Bao

    def start(self, tell: Tell) -> Self:
        """Start part after part; `tell(name, where)` is called after each. Raises NotReady."""
        self._wipe()
        origin = self._origin()
        tell("configuration repository", str(origin.bare))
        valkey = Valkey(self.run / "valkey")
        self._closing.callback(valkey.close)
        tell("Valkey", valkey.start().url)
        self.bao = Bao(self.run / "openbao", root_token=secrets.token_urlsafe(16))
        self._closing.callback(self.bao.close)
        self.bao.start()
        self._set_up_vault()
        tell("OpenBao, its policies and secrets", self.bao.address)
        issuer = LocalIssuer()
        self._closing.callback(issuer.close)
        self._make_tokens(issuer.start())
        tell("identity provider", issuer.jwks_url)
        self.server = Server(self.run / "server", self._settings(origin, valkey, issuer), port=free_port(self._port))
        self._closing.callback(self._stop_server)
        self._write_settings()
        self.server.start()
        tell("configuration server, two workers", self.server.url)
        return self

    def close(self) -> None:
        """End everything that was started, the server first."""
        self._closing.close()

    def _stop_server(self) -> None:
        self.server.stop(timeout=30)

    def _wipe(self) -> None:
        for entry in self.run.iterdir():
            if entry.name == "lock" or (self._keep and entry.name == "git"):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        for directory in (self._keys, self.tokens):
            directory.mkdir(mode=0o700)
        for name in ("server-key", "webhook-secret"):
            _write_private(self._keys / name, secrets.token_hex(32))

    def _origin(self) -> OriginRepo:
        """The origin with the demo's files, and a clone in which `git commit` and `git push` work as they stand."""
        if self._keep and self.work.is_dir():
            return OriginRepo.opened(self.run / "git")
        origin = OriginRepo(self.run / "git")
        files = {str(file.relative_to(DEMO / "repository")): file.read_bytes() for file in _files(DEMO / "repository")}
        origin.write(files, "The configuration of the shop")
        for name, value in {
            "user.name": "Demo",
            "user.email": "demo@example.org",
            "commit.gpgSign": "false",
            "core.hooksPath": "/dev/null",
            "push.default": "simple",
            "branch.main.remote": "origin",
            "branch.main.merge": "refs/heads/main",
        }.items():
            git(origin.work, "config", name, value)
        return origin

    def _set_up_vault(self) -> None:
        """Run the operator's script as it stands, then write secrets with the token that it made for that."""
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.run / "openbao"),
            "BAO_ADDR": self.bao.address,
            "BAO_TOKEN": str(self.bao.root.token),
        }
        script = ["sh", str(DEMO / "vault" / "setup.sh"), str(self._keys)]
        done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotReady(f"config/demo/vault/setup.sh failed:\n{done.stdout}{done.stderr}")
        (self._keys / "secret-writer").rename(self.tokens / "secret-writer")
        writer = hvac.Client(self.bao.address, token=(self.tokens / "secret-writer").read_text().strip())
        for mount, documents in SECRETS.items():
            for path, names in documents.items():
                values = {name: secrets.token_urlsafe(12) for name in names} | FIELDS.get(path, {})
                kv = writer.secrets.kv.v1 if mount == "legacy" else writer.secrets.kv.v2
                kv.create_or_update_secret(path, values, mount_point=mount)
        writer.adapter.close()

    def _make_tokens(self, issuer: LocalIssuer) -> None:
        """A service that reads its own configuration in one env, an admin, and a dashboard that sees no secret."""
        day = 86_000
        tokens = {
            "payment-service": issuer.token(
                "payment-service", "config:read", "payment-service", env="production", lifetime=day
            ),
            "admin": issuer.token("ada@example.org", "config:write config:audit", lifetime=day),
            "dashboard": issuer.token("dashboard", "config:view", lifetime=day),
        }
        for name, token in tokens.items():
            _write_private(self.tokens / name, token)

    def _settings(self, origin: OriginRepo, valkey: Valkey, issuer: LocalIssuer) -> dict[str, str]:
        return {
            "REPO_URL": origin.url,
            "ENVS": ",".join(ENVS),
            "NAMESPACE": "demo",
            "KEY_FILE": str(self._keys / "server-key"),
            "REDIS_URL": valkey.url,
            "WORKERS": "2",
            "STREAMS_PER_WORKER": "500",
            "VAULT_ADDR": self.bao.address,
            "VAULT_ROLE_ID": (self._keys / "role-id").read_text().strip(),
            "VAULT_SECRET_ID_FILE": str(self._keys / "secret-id"),
            "VAULT_MOUNTS": "kv=secret:2,legacy=legacy:1",
            "SECRET_WATCH_SECONDS": "2",
            "JWT_ISSUER": issuer.url,
            "JWT_AUDIENCE": issuer.audience,
            "JWT_JWKS_URL": issuer.jwks_url,
            "ENV_CLAIM": "env",
            "WEBHOOK_SECRET_FILE": str(self._keys / "webhook-secret"),
        }

    def _write_settings(self) -> None:
        lines = (f"{PREFIX}{name}={value}\n" for name, value in self.server.settings.items())
        _write_private(self.run / "server.env", "".join(lines))


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    path.touch(mode=0o600)
    path.write_text(text)
