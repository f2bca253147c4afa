"""AppRole: the role's identity, and where its secret_id comes from at each login."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import hvac

from app.errors import SecretsUnavailable
from app.secrets.credentials import Credentials, delivered
from app.secrets.policy import is_plain_path
from app.secrets.transport import VaultRefused


@dataclass(frozen=True, slots=True)
class AppRole:
    """How to log in. At most one of `secret_id` and `secret_id_file` is set; neither, for a role that binds none.

    `secret_id_file` is read again at each login. `wrapped`: what is there is a response-wrapping token that holds the
    secret_id. `mount` is where the auth method is mounted. Raises ValueError when this cannot be meant.
    """

    role_id: str = field(repr=False)
    secret_id: str | None = field(default=None, repr=False)
    secret_id_file: str | None = None
    wrapped: bool = False
    mount: str = "approle"

    def credentials(self) -> Credentials:
        return SecretIdSource(self)

    def __post_init__(self) -> None:
        if self.secret_id is not None and self.secret_id_file is not None:
            raise ValueError("secret_id and secret_id_file exclude each other")
        if self.wrapped and self.secret_id is None and self.secret_id_file is None:
            raise ValueError("a wrapped secret_id needs secret_id or secret_id_file")
        if not is_plain_path(self.mount):
            raise ValueError(f"not the path of an auth mount: {self.mount!r}")


class SecretIdSource:
    """Logs in with what was delivered last. Not thread-safe: VaultLogin calls it, one at a time.

    A wrapping token can be opened once, so the secret_id from it stays in memory until another token is delivered.
    """

    def __init__(self, role: AppRole) -> None:
        self._role = role
        self._opened: tuple[str, str] | None = None  # (wrapping token, the secret_id it held)

    def login(self, client: hvac.Client) -> Any:
        """See Credentials. One that was replaced between our look and Vault's is no failure: the new one is used."""
        secret_id = self._secret_id(client)
        try:
            return self._answer(client, secret_id)
        except VaultRefused:
            newer = self._secret_id(client)
            if newer == secret_id:
                raise
        return self._answer(client, newer)

    def _answer(self, client: hvac.Client, secret_id: str | None) -> Any:
        role = self._role
        return client.auth.approle.login(role.role_id, secret_id, use_token=False, mount_point=role.mount)

    def _secret_id(self, client: hvac.Client) -> str | None:
        """The secret_id, None for a role that binds none. `client`, for unwrapping, has no token.

        Raises SecretsUnavailable when it cannot be had.
        """
        text = self._delivered()
        if text is None or not self._role.wrapped:
            return text
        if self._opened is None or self._opened[0] != text:
            self._opened = (text, self._unwrap(client, text))
        return self._opened[1]

    def _delivered(self) -> str | None:
        if self._role.secret_id_file is None:
            return self._role.secret_id
        return delivered(self._role.secret_id_file, "the secret_id")

    def _unwrap(self, client: hvac.Client, token: str) -> str:
        """Look before opening: a token wrapped by somebody else would make us log in with what they chose.

        Source: https://developer.hashicorp.com/vault/docs/concepts/response-wrapping#response-wrapping-token-validation
        """
        try:
            about = client.adapter.post("/v1/sys/wrapping/lookup", json={"token": token})
            if not self._made_by_our_role(about, client.adapter.namespace):
                raise SecretsUnavailable("the wrapping token was not made for a secret_id of our AppRole mount")
            # The header, as unwrapping with a token in the body asks for a client token beside it.
            answer = client.adapter.post("/v1/sys/wrapping/unwrap", headers={"X-Vault-Token": token})
        except VaultRefused:
            raise SecretsUnavailable(
                "the wrapping token is used, expired or unknown: somebody may have read it"
            ) from None
        match answer:
            case {"data": {"secret_id": str(secret_id)}}:
                return secret_id
            case _:
                raise SecretsUnavailable("the wrapping token did not hold a secret_id")

    def _made_by_our_role(self, about: Mapping[str, Any], namespace: str | None) -> bool:
        match about:
            case {"data": {"creation_path": str(path)}}:
                # Inside a namespace some versions put its path before it. Nothing else may stand there: whoever may
                # write somewhere can end a path in the same way.
                path = path.removeprefix(f"{namespace.strip('/')}/") if namespace else path
                return re.fullmatch(rf"auth/{re.escape(self._role.mount)}/role/[^/]+/secret-id", path) is not None
            case _:
                return False
