"""What a place that keeps secrets must offer, its refusal, and the place that keeps none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from app.errors import ConfigServerError
from app.model import Json, KeyPath, Secret, SecretPath
from app.secrets.policy import is_plain_path

#: Told (kind, detail) of what an operator wants to know: a failed login, a refused renewal. Never a path or a token.
OnEvent: TypeAlias = Callable[[str, str], None]


class SecretDenied(ConfigServerError):
    """Vault refuses the secret, or does not have it: one text for both, so that they look alike.

    `whole_path` tells whether every version of the document is refused, or only the version that was asked for;
    `forbidden` that Vault refuses it, and does not merely have nothing there. The text holds neither path nor key;
    whoever catches this names the property in an `app.errors.SecretRefused`.
    """

    def __init__(
        self,
        reason: str = "the secret is not allowed or not found",
        *,
        whole_path: bool = True,
        forbidden: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.whole_path = whole_path
        self.forbidden = forbidden


@dataclass(frozen=True, slots=True)
class Mount:
    """Where an alias points: the mount's path in Vault, and the version (1 or 2) of its KV engine."""

    path: str
    kv_version: int

    def __post_init__(self) -> None:
        if not is_plain_path(self.path):
            raise ValueError(f"not the path of a mount: {self.path!r}")
        if self.kv_version not in (1, 2):
            raise ValueError(f"the KV version of a mount is 1 or 2, not {self.kv_version!r}")


class SecretBackend(Protocol):
    """Reads secret documents. Thread-safe; every call is bounded in time."""

    def read(self, path: SecretPath, version: int | None, service: str | None = None) -> tuple[Mapping[str, Json], int]:
        """The document and its version: exactly `version`, or the latest for None.

        `service` is for whom it is read, where services have tokens of their own; None: for ourselves.
        An engine without versions (KV v1) ignores `version` and answers version 0.
        Raises SecretDenied, or SecretsUnavailable when nobody can say.
        """

    def current_version(self, path: SecretPath) -> int:
        """The latest version's number; 0 for an engine without versions, which is not asked.

        Raises SecretDenied when the path or its latest version is gone or refused, else SecretsUnavailable.
        """


class NoSecretBackend:
    """Stands in where no Vault is configured: refuses every read, and says why."""

    _REASON = "no Vault is configured, so no secret reference can be resolved"

    def read(
        self,
        path: SecretPath,
        version: int | None,
        service: str | None = None,
    ) -> tuple[Mapping[str, Json], int]:
        raise SecretDenied(self._REASON)

    def current_version(self, path: SecretPath) -> int:
        raise SecretDenied(self._REASON)


def value_of(secret: Secret, key: str, inside: KeyPath | None = None) -> Json:
    """The value of one key of a document, or what stands `inside` it. Raises SecretDenied when there is none."""
    try:
        found: Any = secret.data[key]
        for segment in inside or ():
            found = found[segment]
    except (KeyError, IndexError, TypeError):
        raise SecretDenied(whole_path=False) from None
    value: Json = found
    return value
