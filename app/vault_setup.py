"""From settings to Vault: where it is, how we log in, and the backend that reads secrets; and the server's own keys."""

from __future__ import annotations

from pathlib import Path

from app.errors import SettingsError
from app.secrets import (
    DEFAULT_KEY,
    AppRole,
    Auth,
    Cipher,
    Endpoint,
    JwtRole,
    KeyRing,
    Mount,
    OnEvent,
    VaultSecretBackend,
)
from app.settings import Settings

#: Where Kubernetes puts the token of a pod's service account, and puts a new one before it ends.
SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


def new_backend(settings: Settings, address: str, on_event: OnEvent) -> VaultSecretBackend:
    timings = settings.timings
    return VaultSecretBackend(
        address,
        auth=auth_of(settings),
        mounts={alias: Mount(path, version) for alias, (path, version) in settings.vault_mounts.items()},
        namespace=settings.vault_namespace,
        ca_file=str(settings.vault_cacert) if settings.vault_cacert else None,
        timeouts=(timings.vault_connect, timings.vault_read),
        on_event=on_event,
        service_token_role=settings.vault_service_token_role,
    )


def auth_of(settings: Settings) -> Auth:
    """How the server logs in."""
    mount = settings.vault_auth_mount or settings.vault_auth_method
    if settings.vault_auth_method == "approle":
        return AppRole(
            settings.vault_role_id or "",
            secret_id=settings.vault_secret_id,
            secret_id_file=str(settings.vault_secret_id_file) if settings.vault_secret_id_file else None,
            wrapped=settings.vault_secret_id_wrapped,
            mount=mount,
        )
    return JwtRole(settings.vault_role or "", str(settings.vault_jwt_file or SERVICE_ACCOUNT_TOKEN), mount)


def endpoint_of(settings: Settings, address: str) -> Endpoint:
    timings = settings.timings
    ca_file = str(settings.vault_cacert) if settings.vault_cacert else None
    return Endpoint(address, settings.vault_namespace, ca_file, (timings.vault_connect, timings.vault_read))


def read_keys(path: Path) -> KeyRing:
    """A file with one key, or a directory with a file for each, whose name is the alias. Raises SettingsError."""
    if path.is_file():
        return KeyRing(_key_in(path))
    named = {each.name: _key_in(each) for each in path.iterdir() if each.is_file() and not each.name.startswith(".")}
    if not named:
        raise SettingsError(["CONFIG_SERVER_ENCRYPT_KEY_FILE: the directory holds no key"])
    return KeyRing(named.get(DEFAULT_KEY), named)


def _key_in(path: Path) -> Cipher:
    password = path.read_text().strip()
    if not password:
        raise SettingsError([f"CONFIG_SERVER_ENCRYPT_KEY_FILE: the file {path.name} is empty"])
    return Cipher(password)
