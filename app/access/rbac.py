"""Role bindings: the file that turns claims of a verified token into grants."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.access.permissions import parse_grant
from app.model import Grant

_FIELDS = frozenset({"claims", "permissions", "issuer"})


class RbacError(ValueError):
    """The file does not make bindings. `problems` lists every fault, in the file's order."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Binding:
    """Whoever's token matches all of `claims` (and comes from `issuer`, if given) has `grants`."""

    claims: Mapping[str, object]
    grants: tuple[Grant, ...]
    issuer: str | None = None


@dataclass(frozen=True, slots=True)
class Rbac:
    """All bindings. Without any, tokens carry all permissions themselves."""

    bindings: tuple[Binding, ...] = ()

    def grants(self, issuer: str, claims: Mapping[str, object]) -> tuple[Grant, ...]:
        """What the bindings give to a verified token of `issuer` with these claims; each grant once, in order."""
        bound = (
            grant
            for binding in self.bindings
            if binding.issuer in (None, issuer) and _matches(binding.claims, claims)
            for grant in binding.grants
        )
        return tuple(dict.fromkeys(bound))


def load_rbac(path: Path) -> Rbac:
    """The bindings of a TOML file. Raises RbacError with everything that is wrong in it."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RbacError([f"cannot be read: {error.strerror}"]) from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise RbacError([f"is not TOML: {error}"]) from error
    entries = document.get("binding", [])
    problems = [f"{key}: unknown, only [[binding]] is" for key in document if key != "binding"]
    if not isinstance(entries, list):
        raise RbacError([*problems, "binding: must be written [[binding]]"])
    for number, entry in enumerate(entries, start=1):
        problems += [f"binding {number}: {problem}" for problem in _problems(entry)]
    if problems:
        raise RbacError(problems)
    return Rbac(tuple(_binding(entry) for entry in entries))


def _binding(entry: Mapping[str, object]) -> Binding:
    claims, permissions, issuer = entry["claims"], entry["permissions"], entry.get("issuer")
    assert isinstance(claims, dict)  # _problems has seen to both
    assert isinstance(permissions, list)
    grants = tuple(grant for text in permissions if (grant := parse_grant(text)) is not None)
    return Binding(claims, grants, issuer if isinstance(issuer, str) else None)


def _problems(entry: object) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield "must be written [[binding]]"
        return
    yield from (f"{key}: unknown" for key in entry if key not in _FIELDS)
    yield from _claim_problems(entry.get("claims"), "claims")
    permissions = entry.get("permissions")
    if not isinstance(permissions, list) or not permissions:
        yield "permissions: must be a list of at least one permission"
    else:
        yield from (
            f"permissions: {text!r} is not a permission"
            for text in permissions
            if not isinstance(text, str) or parse_grant(text) is None
        )
    issuer = entry.get("issuer")
    if "issuer" in entry and (not isinstance(issuer, str) or not issuer):
        yield "issuer: must be the text of the iss claim"


def _claim_problems(claims: object, name: str) -> Iterator[str]:
    """A binding that matches every token is never meant: `config:...` in all tokens is the issuer's to write."""
    if not isinstance(claims, dict) or not claims:
        yield f"{name}: must be a table of at least one claim"
        return
    for key, value in claims.items():
        if isinstance(value, dict):
            yield from _claim_problems(value, f"{name}.{key}")
        elif not isinstance(value, str | bool | int) or value == "":
            yield f"{name}.{key}: must be a text, a whole number, true or false"


def _matches(wanted: Mapping[str, object], claims: Mapping[str, object]) -> bool:
    return all(key in claims and _value_matches(value, claims[key]) for key, value in wanted.items())


def _value_matches(wanted: object, actual: object) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(actual, Mapping) and _matches(wanted, actual)
    candidates = actual if isinstance(actual, list) else [actual]
    # The types must agree too: in Python 1 == True, in a token they are different statements.
    return any(type(candidate) is type(wanted) and candidate == wanted for candidate in candidates)
