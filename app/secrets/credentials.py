"""What every way of logging in to Vault offers, and the two that bring a signed token: `jwt` and `kubernetes`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import hvac

from app.errors import SecretsUnavailable
from app.secrets.policy import is_plain_path


class Credentials(Protocol):
    """Who we are to Vault. Called by one login at a time."""

    def login(self, client: hvac.Client) -> Any:
        """Log in with `client`, which has no token; Vault's answer.

        Raises VaultRefused when Vault does not take it, SecretsUnavailable when there is nothing to show, or no answer.
        """


class Auth(Protocol):
    """A way of logging in, as it is configured."""

    def credentials(self) -> Credentials: ...


@dataclass(frozen=True, slots=True)
class JwtRole:
    """Logging in by a token that somebody has signed for us. It lies in `file`, read again at each login.

    Vault's methods `jwt` (it knows the issuer's keys) and `kubernetes` (it asks the cluster) take the same words.
    `role` is the method's role, `mount` where it is mounted. Raises ValueError when this cannot be meant.
    """

    role: str
    file: str
    mount: str = "jwt"

    def __post_init__(self) -> None:
        if not is_plain_path(self.mount):
            raise ValueError(f"not the path of an auth mount: {self.mount!r}")

    def credentials(self) -> Credentials:
        return self

    def login(self, client: hvac.Client) -> Any:
        body = {"role": self.role, "jwt": delivered(self.file, "the token to log in with")}
        return client.adapter.post(f"/v1/auth/{self.mount}/login", json=body)


def delivered(file: str, what: str) -> str:
    """The text of a file that somebody else replaces. Raises SecretsUnavailable, in a text that does not name it."""
    try:
        return Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise SecretsUnavailable(f"the file with {what} cannot be read") from None
