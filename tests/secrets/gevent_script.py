"""Run by test_gevent: fifty greenlets ask a patched process for one secret; prints what that cost Vault."""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402 - patched first, as under gunicorn

import gevent  # noqa: E402 - the same

from app.model import Json, SecretPath  # noqa: E402 - the same
from app.secrets import AppRole, Mount, SecretBackend, SecretStore, VaultSecretBackend  # noqa: E402 - the same


class Counting:
    """Passes on to a backend and counts the reads."""

    def __init__(self, backend: SecretBackend) -> None:
        self.backend = backend
        self.reads = 0

    def read(self, path: SecretPath, version: int | None, service: str | None = None) -> "tuple[dict[str, Json], int]":
        self.reads += 1
        data, found = self.backend.read(path, version, service)
        return dict(data), found

    def current_version(self, path: SecretPath) -> int:
        return self.backend.current_version(path)


def main(address: str, role_id: str, secret_id: str, path: str) -> None:
    logins: list[str] = []
    vault = VaultSecretBackend(
        address,
        auth=AppRole(role_id, secret_id),
        mounts={"kv": Mount("secret", 2)},
        timeouts=(10.0, 10.0),  # the machine may be busy
        on_event=lambda kind, _: logins.append(kind),
    )
    backend = Counting(vault)
    store = SecretStore(backend, ttl=60, grace=0, digest_key=b"k")
    greenlets = [gevent.spawn(store.get, SecretPath("kv", path), None) for _ in range(50)]
    gevent.joinall(greenlets, timeout=60)
    good = sum(1 for one in greenlets if one.successful())
    sys.stdout.write(f"answers={good} reads={backend.reads} logins={len(logins)}")
    vault.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
