"""Who may change or see which file, by whom the file concerns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.access import Access, Action, allows, holds
from app.effective import Layout, Reach
from app.errors import Forbidden
from app.model import Principal, Target


@dataclass(frozen=True, slots=True)
class Leave:
    """A path needs `write` on every target that it can affect. `envs` are the legal ones; while none are listed no
    narrow grant can be proven to cover a file, so it takes one for everything."""

    access: Access
    layout: Layout
    envs: tuple[str, ...]

    def check_write(self, principal: Principal, paths: Iterable[str]) -> None:
        """Raises Forbidden naming the first path that this principal may not change."""
        if holds(principal, Action.WRITE):
            return
        for path in paths:
            reaches = self.layout.reaches(path)
            if not reaches or not all(self._may(principal, Action.WRITE, reach) for reach in reaches):
                raise Forbidden(f"{path[:200]}: this takes config:write for every configuration that the file concerns")

    def sees(self, principal: Principal, target: Target) -> bool:
        return self.access.view(principal, target.service, target.envs) is not None

    def sees_file(self, principal: Principal, path: str) -> bool:
        reaches = self.layout.reaches(path)
        return holds(principal, Action.VIEW) or any(self._may(principal, Action.VIEW, reach) for reach in reaches)

    def _may(self, principal: Principal, action: Action, reach: Reach) -> bool:
        envs = (reach.env,) if reach.env is not None else self.envs
        if reach.service is None or not self.envs:
            return False
        return allows(principal, action, reach.service, envs, envs_listed=True)
