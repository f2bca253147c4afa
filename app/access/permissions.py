"""The permission grammar: what a grant's text means, and whether a principal's grants cover what is asked for.

    config:read[:SERVICE-GLOB[/ENV-GLOB]]    read, secrets resolved
    config:view[:...]                        read, secrets masked
    config:write[:...]                       change; implies view
    config:audit, config:encrypt, config:decrypt

A grant never lends its action to another but for two cases: whoever may write may view, and whoever may read the
secrets may view what is left when they are masked. Everything here is pure.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from functools import lru_cache

from app.model import Grant, Principal, View


class Action(enum.StrEnum):
    READ = "read"
    VIEW = "view"
    WRITE = "write"
    AUDIT = "audit"
    ENCRYPT = "encrypt"
    DECRYPT = "decrypt"


_ACTIONS = {action.value: action for action in Action}

#: Actions whose grants may be narrowed to services and envs; the others are about the server as a whole.
_SCOPED = frozenset({Action.READ, Action.VIEW, Action.WRITE})

#: action wanted -> actions of grants that give it.
_GIVEN_BY = {action: frozenset({action}) for action in Action} | {
    Action.VIEW: frozenset({Action.VIEW, Action.WRITE, Action.READ})
}

#: The characters of a name plus `*`, which stands for any run of them; `**` says nothing that `*` does not.
_GLOB = re.compile(r"(?!.*\*\*)[A-Za-z0-9*][A-Za-z0-9_.+@*-]{0,127}")


def parse_grant(text: str) -> Grant | None:
    """The Grant that `text` spells exactly, or None: a token's scopes may well be another application's."""
    prefix, _, rest = text.partition(":")
    name, scoped, scope = rest.partition(":")
    action = _ACTIONS.get(name)
    if prefix != "config" or action is None:
        return None
    if not scoped:
        return Grant(action)
    service, slash, env = scope.partition("/")
    if action not in _SCOPED or not _GLOB.fullmatch(service) or (slash and not _GLOB.fullmatch(env)):
        return None
    return Grant(action, service, env if slash else None)


def parse_grants(texts: Iterable[str]) -> tuple[Grant, ...]:
    """The grants among `texts`, each once, in order; what is not exactly a grant is left out."""
    grants = (parse_grant(text) for text in texts)
    return tuple(dict.fromkeys(grant for grant in grants if grant is not None))


def matches(glob: str, name: str) -> bool:
    """Whether `glob` covers all of `name`. `*` matches any run of characters but `/` and `,`; linear in time."""
    if "/" in name or "," in name:
        return False  # a glob's own characters never are one of the two either
    head, *middle = glob.split("*")
    if not middle:
        return glob == name
    tail = middle.pop()
    if not name.startswith(head) or not name.endswith(tail) or len(name) < len(head) + len(tail):
        return False
    at, end = len(head), len(name) - len(tail)
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def allows(
    principal: Principal,
    action: Action,
    service: str,
    envs: Iterable[str],
    *,
    envs_listed: bool,
    unscoped_read: bool = False,
) -> bool:
    """Whether the principal may do `action` on the service in every one of `envs` (different grants may cover each).

    `envs_listed` tells whether the operator named the legal envs (ENVS). Where not, `pay` in `admin-prod` and
    `pay-admin` in `prod` are the same file, so a grant narrowed to services but not to one exact env does not reach
    an env with a hyphen. `unscoped_read` lets a bare `config:read` of a token without a service claim read all.
    No env at all is never allowed.
    """
    usable = [grant for grant in principal.grants if grant.action in _GIVEN_BY[action]]
    wanted = tuple(envs)
    for env in wanted:  # plain loops: this is asked for each subscriber of a change
        for grant in usable:
            if _covers(grant, principal, service, env, envs_listed, unscoped_read):
                break
        else:
            return False
    return bool(wanted)


def view_for(
    principal: Principal,
    service: str,
    envs: Iterable[str],
    *,
    envs_listed: bool,
    unscoped_read: bool = False,
) -> View | None:
    """The fullest view the principal may have: resolved with read, else masked, else None. See `allows`."""
    wanted = tuple(envs)
    for action, view in ((Action.READ, View.RESOLVED), (Action.VIEW, View.MASKED)):
        if allows(principal, action, service, wanted, envs_listed=envs_listed, unscoped_read=unscoped_read):
            return view
    return None


@lru_cache(8192)
def remembered_view(
    grants: tuple[Grant, ...],
    claimed_service: str | None,
    claimed_env: str | None,
    service: str,
    envs: tuple[str, ...],
    envs_listed: bool,
    unscoped_read: bool,
) -> View | None:
    """`view_for`, of all that it depends on. Asked for each subscriber of a change, and mostly the same for many."""
    bearer = Principal("", "", grants, 0.0, service=claimed_service, env=claimed_env)
    return view_for(bearer, service, envs, envs_listed=envs_listed, unscoped_read=unscoped_read)


def holds(principal: Principal, action: Action) -> bool:
    """Whether the principal may do `action` where no target is named (refresh, status, audit, encrypt).

    That concerns every target, so it takes a grant for every target: an unscoped one, or `*`, or `*/*`; a writer of
    one service may not refresh for all. A bare `config:read` speaks for one service and does not count.
    """
    return any(grant.action in _GIVEN_BY[action] and _is_total(grant) for grant in principal.grants)


def _is_total(grant: Grant) -> bool:
    if grant.service is None:
        return grant.action != Action.READ
    return grant.service == "*" and grant.env in (None, "*")


def _covers(grant: Grant, principal: Principal, service: str, env: str, envs_listed: bool, unscoped_read: bool) -> bool:
    if grant.service is not None:
        return matches(grant.service, service) and _covers_env(grant.env, env, envs_listed)
    if grant.action != Action.READ:
        return True  # everything: then two targets in one file are no way to reach more
    if principal.service is None:
        return unscoped_read and principal.env in (None, env)
    return service == principal.service and _covers_env(principal.env, env, envs_listed)


def _covers_env(glob: str | None, env: str, envs_listed: bool) -> bool:
    exact = glob is not None and "*" not in glob
    if "-" in env and not exact and not envs_listed:
        return False
    return glob is None or matches(glob, env)
