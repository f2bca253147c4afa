"""The one question of the HTTP layer: who is this, and what may it see."""

from __future__ import annotations

from dataclasses import dataclass

from app.access.permissions import remembered_view
from app.access.verifier import TokenVerifier
from app.model import Principal, View


@dataclass(frozen=True, slots=True)
class Access:
    """Who may see what: the verifier, and the two settings that permissions depend on."""

    verifier: TokenVerifier
    envs_listed: bool
    unscoped_read: bool

    def is_revoked(self, principal: Principal) -> bool:
        return self.verifier.is_revoked(principal)

    def view(self, principal: Principal, service: str, envs: tuple[str, ...]) -> View | None:
        """The fullest view of the target that the principal may have, or None."""
        return remembered_view(
            principal.grants, principal.service, principal.env, service, envs, self.envs_listed, self.unscoped_read
        )
