"""Who may change or see which file, by whom the file concerns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.access import Access, Action, allows, holds
from app.effective import OWN_FOLDER, Layout, Reach
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

    def check_look(self, principal: Principal, paths: Iterable[str]) -> None:
        """Raises Forbidden naming the first path that concerns nobody whom this principal may see: what comes of an
        edit (it changes nothing, there is no such key) tells what stands in the file."""
        if holds(principal, Action.VIEW):
            return
        for path in paths:
            reaches = self.layout.reaches(path)
            if path.startswith(f"{OWN_FOLDER}/") or not any(self._sees_some(principal, reach) for reach in reaches):
                raise Forbidden(f"{path[:200]}: no grant of this token covers a configuration that the file concerns")

    def _sees_some(self, principal: Principal, reach: Reach) -> bool:
        """Whether one of its targets may be seen; where it is about all, a grant's glob is a name that it covers."""
        scopes = [(grant.service, grant.env) for grant in principal.grants] + [(principal.service, principal.env)]
        named = [(_example(service), env and _example(env)) for service, env in scopes if service]
        services = [reach.service] if reach.service else [service for service, _ in named]
        envs = [reach.env] if reach.env else self.envs or [env or "any" for _, env in named] or ["any"]
        return any(self.access.view(principal, service, (env,)) is not None for service in services for env in envs)

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


def _example(glob: str) -> str:
    return glob.replace("*", "x")
