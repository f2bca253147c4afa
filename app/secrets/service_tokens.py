"""Tokens of single services: what is read for a service is read as that service, so that Vault has a say as well.

Our own login is then a broker. It may ask a token role for batch tokens with the service's name as entity alias, and a
policy that names the alias opens the service's paths and no others (see docs/vault.md). A batch token is kept nowhere
in Vault, cannot be renewed, and ends by itself within minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from app.cache import LocalCache
from app.errors import SecretsUnavailable
from app.model import NAME
from app.secrets.backend import OnEvent, SecretDenied
from app.secrets.flight import SingleFlight
from app.secrets.login import RENEW_AT, Lease, VaultLogin, asked, auth_of, lives
from app.secrets.transport import VaultRefused

_TTL = "5m"
_CAPACITY = 10_000


class ServiceTokens:
    """The token of each service that was read for lately. Thread-safe; two callers never have two made at once.

    `role` is the token role that our login may use. `clock` and `patience`: see VaultLogin.
    """

    def __init__(
        self, login: VaultLogin, role: str, *, clock: Callable[[], float], on_event: OnEvent, patience: float
    ) -> None:
        self._login = login
        self._role = role
        self._clock = clock
        self._on_event = on_event
        self._patience = patience
        self._leases: LocalCache[str, Lease] = LocalCache(_CAPACITY)
        self._flights: SingleFlight[str, Lease] = SingleFlight()

    def of(self, service: str) -> _ServiceToken:
        """The holder of this service's token; nothing is asked yet.

        Raises SecretDenied for what is no name, and for a name with capitals: Vault does not tell `Pay` from `pay`, and
        the first of them to come would name both.
        """
        if not NAME.fullmatch(service) or service != service.lower():
            self._on_event("service_token_refused", "a service whose name has capitals gets no token of its own")
            raise SecretDenied
        return _ServiceToken(self, service)

    def lease(self, service: str) -> Lease:
        lease = self._leases.get(service)
        if lease is None or self._clock() >= lease.renew_at:
            return self._replace(service, lease)
        return lease

    def after_refusal(self, service: str, refused: Lease) -> Lease | None:
        """As VaultLogin's: a dead token is replaced, a living one once in `patience` seconds."""
        current = self._leases.get(service)
        if current is not None and current is not refused:
            return current
        living = lives(refused)
        if living and self._clock() - refused.logged_in_at < self._patience:
            return None
        try:
            return self._replace(service, refused)
        except SecretsUnavailable:
            if living:
                return None
            raise

    def _replace(self, service: str, worn: Lease | None) -> Lease:
        return self._flights.do(service, lambda: self._made(service, worn))

    def _made(self, service: str, worn: Lease | None) -> Lease:
        current = self._leases.get(service)
        if current is not None and current is not worn:
            return current  # somebody else did it between our look and our flight
        now = self._clock()
        body = {"entity_alias": service, "ttl": _TTL}
        try:
            answer = asked(
                self._login, lambda client: client.adapter.post(f"/v1/auth/token/create/{self._role}", json=body)
            )
        except VaultRefused:
            self._on_event("service_token_refused", "Vault refuses us the token of a service")
            raise SecretDenied from None
        token, ttl, _ = auth_of(answer)
        ttl = ttl or math.inf
        lease = Lease(self._login.client(token), ttl, False, now, now + ttl * RENEW_AT, now + ttl)
        self._leases.put(service, lease)
        return lease


@dataclass(frozen=True, slots=True)
class _ServiceToken:
    """A TokenHolder."""

    tokens: ServiceTokens
    service: str

    def lease(self) -> Lease:
        return self.tokens.lease(self.service)

    def after_refusal(self, refused: Lease) -> Lease | None:
        return self.tokens.after_refusal(self.service, refused)
