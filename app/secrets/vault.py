"""Secrets from Vault or OpenBao: KV version 1 and 2 through hvac."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import hvac

from app.errors import SecretsUnavailable
from app.model import Json, SecretPath
from app.secrets.backend import Mount, OnEvent, SecretDenied
from app.secrets.credentials import Auth
from app.secrets.login import TokenHolder, VaultLogin, asked
from app.secrets.policy import is_document_path, is_plain_path
from app.secrets.service_tokens import ServiceTokens
from app.secrets.transport import Endpoint, VaultRefused

T = TypeVar("T")


def _silent(kind: str, detail: str) -> None:
    """The default for `on_event`."""


class VaultSecretBackend:
    """A SecretBackend on Vault. Thread-safe, lazy: it logs in when first asked.

    `mounts` maps the aliases of references to mounts. `namespace`: for Vault Enterprise and OpenBao. `ca_file`: a PEM
    bundle. `timeouts`: seconds to connect and to wait for bytes. `on_event(kind, detail)` hears `login`,
    `login_failed`, `renewal_failed`, `service_token_refused` and `metadata_forbidden`, in texts that may be logged.
    `clock` never goes back. `patience`: see VaultLogin. `service_token_role`: the token role that gives us tokens of
    single services, with which documents are then read. Errors carry neither paths nor tokens. Raises ValueError for an
    address or a role that is none.
    """

    def __init__(
        self,
        address: str,
        *,
        auth: Auth,
        mounts: Mapping[str, Mount],
        namespace: str | None = None,
        ca_file: str | None = None,
        timeouts: tuple[float, float] = (1.0, 2.0),
        on_event: OnEvent = _silent,
        clock: Callable[[], float] = time.monotonic,
        patience: float = 60.0,
        service_token_role: str | None = None,
    ) -> None:
        endpoint = Endpoint(address, namespace, ca_file, timeouts)
        self._login = VaultLogin(endpoint, auth, clock=clock, on_event=on_event, patience=patience)
        self._mounts = dict(mounts)
        self._on_event = on_event
        self._services: ServiceTokens | None = None
        if service_token_role is not None:
            if not is_plain_path(service_token_role):
                raise ValueError(f"not the name of a token role: {service_token_role!r}")
            self._services = ServiceTokens(
                self._login, service_token_role, clock=clock, on_event=on_event, patience=patience
            )

    def read(self, path: SecretPath, version: int | None, service: str | None = None) -> tuple[Mapping[str, Json], int]:
        """See SecretBackend. KV v1 answers version 0 and knows only the whole path."""
        mount = self._mount(path)
        holder = self._holder(service)
        if mount.kv_version == 1:
            answer = _asked(holder, lambda client: client.secrets.kv.v1.read_secret(path.path, mount_point=mount.path))
            return _v1_document(answer), 0
        # A version that is gone says nothing about the others; a 403, or no latest version, does.
        answer = _asked(holder, lambda client: _read_v2(client, mount, path, version), whole_path=version is None)
        return _v2_document(answer, version)

    def current_version(self, path: SecretPath) -> int:
        """See SecretBackend. Without the right to read metadata the data is read instead, and that is reported."""
        mount = self._mount(path)
        if mount.kv_version == 1:
            return 0
        lease = self._login.lease()
        try:
            answer = lease.client.secrets.kv.v2.read_secret_metadata(path.path, mount_point=mount.path)
        except VaultRefused as refused:
            # Forbidden, or the token has died: reading the data finds out, and logs in again only if need be.
            _, version = self.read(path, None)
            if refused.status == 403 and self._login.lease() is lease:
                self._on_event("metadata_forbidden", "Vault's policy lets us read data but not metadata")
            return version
        return _v2_current(answer)

    def keep_alive(self) -> None:
        """Renew the token if that is due, for a scheduler to call every few seconds. Reports, and never raises."""
        self._login.keep_alive()

    def close(self) -> None:
        """Close the connections to Vault."""
        self._login.close()

    def _mount(self, path: SecretPath) -> Mount:
        # Once more, whoever asks: `requests` resolves `..`, and then Vault would be asked for another thing.
        mount = self._mounts.get(path.alias)
        if mount is None or not is_document_path(path.path):
            raise SecretDenied
        return mount

    def _holder(self, service: str | None) -> TokenHolder:
        return self._login if self._services is None or service is None else self._services.of(service)


def _asked(holder: TokenHolder, question: Callable[[hvac.Client], T], *, whole_path: bool = True) -> T:
    try:
        return asked(holder, question)
    except VaultRefused as refused:
        raise _verdict(refused, whole_path) from None


def _verdict(refused: VaultRefused, whole_path: bool) -> Exception:
    if refused.status == 400:  # a mount that is being upgraded says so; it takes no secret away
        return SecretsUnavailable("Vault cannot answer this request now")
    return SecretDenied(whole_path=whole_path or refused.status == 403, forbidden=refused.status == 403)


def _read_v2(client: hvac.Client, mount: Mount, path: SecretPath, version: int | None) -> Any:
    kv = client.secrets.kv.v2
    return kv.read_secret_version(path.path, version, mount_point=mount.path, raise_on_deleted_version=True)


def _v1_document(answer: Mapping[str, Any]) -> Mapping[str, Json]:
    match answer:
        case {"data": dict(data)}:
            return data
        case _:
            raise SecretsUnavailable("the answer is not one of Vault's")


def _v2_document(answer: Mapping[str, Any], version: int | None) -> tuple[Mapping[str, Json], int]:
    match answer:
        case {"data": {"data": dict(data), "metadata": {"version": int(found)}}} if version in (None, found):
            return data, found
        case {"data": {"data": None}}:
            raise SecretDenied(whole_path=version is None)
        case _:
            raise SecretsUnavailable("the answer is not one of Vault's")


def _v2_current(answer: Mapping[str, Any]) -> int:
    match answer:
        case {"data": {"current_version": int(current), "versions": dict(versions)}}:
            if _is_gone(versions.get(str(current))):
                raise SecretDenied
            return current
        case _:
            raise SecretsUnavailable("the answer is not one of Vault's")


def _is_gone(version: Any) -> bool:
    """Whether a version's metadata says deleted or destroyed; `deletion_time` may lie ahead (delete_version_after)."""
    match version:
        case {"destroyed": True}:
            return True
        case {"deletion_time": str(text)} if text:
            try:
                return datetime.fromisoformat(text) <= datetime.now(UTC)
            except (ValueError, TypeError):
                return True  # a time that we cannot read: reading the data would tell, and dropping is the safe side
        case None:
            return True
    return False
