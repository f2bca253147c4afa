"""The table of trusted issuers: what each one's tokens must be like, and where its keys are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.access.jwk import ALGORITHMS
from app.access.keys import Keys
from app.errors import BadInput


@dataclass(frozen=True, slots=True)
class Issuer:
    """One issuer. `leeway` and `max_lifetime` are seconds; a token must be for one of `audiences`.

    `permission_claims` are read for permissions, a text split at spaces or a list of texts; `service_claim` and
    `env_claim` name the claims that say which service (and env) the bearer is; a name may be a JSON pointer. Raises
    ValueError when it trusts nothing or too much.
    """

    issuer: str
    audiences: frozenset[str]
    algorithms: tuple[str, ...]
    keys: Keys
    permission_claims: tuple[str, ...] = ("scope", "scp", "permissions", "roles")
    service_claim: str | None = "service"
    env_claim: str | None = None
    leeway: float = 30
    max_lifetime: float = 86_400

    def __post_init__(self) -> None:
        if not self.issuer or not self.audiences or not self.algorithms:
            raise ValueError("an issuer needs its name, an audience and an algorithm")
        if unknown := [name for name in self.algorithms if name not in ALGORITHMS]:
            raise ValueError(f"not a public-key algorithm: {', '.join(unknown)}")


class Issuers:
    """All trusted issuers, by their `iss` claim. Immutable; starts and stops the keys of each."""

    def __init__(self, issuers: Iterable[Issuer]) -> None:
        """Raises ValueError when there is none, or two of one name."""
        listed = tuple(issuers)
        self._by_name = {issuer.issuer: issuer for issuer in listed}
        if not listed or len(self._by_name) != len(listed):
            raise ValueError("at least one issuer, and each once")

    def find(self, name: object) -> Issuer | None:
        """The issuer of exactly that name; a claim may be anything, so may `name`."""
        return self._by_name.get(name) if isinstance(name, str) else None

    def named(self, name: str | None) -> Issuer:
        """The issuer that somebody names in a request; who names none means the only one. Raises BadInput."""
        if name is None and len(self._by_name) == 1:
            return next(iter(self))
        issuer = self.find(name)
        if issuer is None:
            raise BadInput("issuer", "must name one of the trusted issuers")
        return issuer

    def __iter__(self) -> Iterator[Issuer]:
        return iter(self._by_name.values())

    def start(self) -> None:
        for issuer in self:
            issuer.keys.start()

    def close(self) -> None:
        for issuer in self:
            issuer.keys.close()
