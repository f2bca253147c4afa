"""The life of our Vault token: logged in when first needed, renewed in time, replaced when it is worn out."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import hvac
import requests

from app.errors import SecretsUnavailable
from app.secrets.backend import OnEvent
from app.secrets.credentials import Auth
from app.secrets.flight import SingleFlight
from app.secrets.transport import Endpoint, VaultErred, VaultRefused

T = TypeVar("T")

RENEW_AT = 2 / 3  # of the TTL that Vault returned
_RETRY_SECONDS = (0.5, 5.0)  # least and most until a renewal that got no answer is tried again


@dataclass(frozen=True, slots=True)
class Lease:
    """A token with a client bound to it. Times are seconds of the clock; `granted` is the TTL the login gave."""

    client: hvac.Client = field(repr=False)
    granted: float
    renewable: bool
    logged_in_at: float
    renew_at: float
    expires_at: float


class TokenHolder(Protocol):
    """Has a token, and perhaps another one after Vault has refused something."""

    def lease(self) -> Lease: ...

    def after_refusal(self, refused: Lease) -> Lease | None: ...


class VaultLogin:
    """Keeps one token alive. Thread-safe; logins and renewals are single flight, and callers share their outcome.

    `clock` gives seconds and never goes back. `patience` is how long (seconds) a living token that gets a 403 is
    believed before a new login asks whether our policies have changed.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        auth: Auth,
        *,
        clock: Callable[[], float],
        on_event: OnEvent,
        patience: float = 60.0,
    ) -> None:
        self._endpoint = endpoint
        self._credentials = auth.credentials()
        self._clock = clock
        self._on_event = on_event
        self._patience = patience
        self._session: requests.Session = endpoint.session()
        self._lease: Lease | None = None  # swapped whole, by the flight or by the holder of _renewing
        self._logins: SingleFlight[str, Lease] = SingleFlight()
        self._renewing = threading.Lock()  # held by the one caller that renews; the others use what there is

    def lease(self) -> Lease:
        """A token that is good as far as we know. Raises SecretsUnavailable when logging in fails."""
        lease, now = self._lease, self._clock()
        if lease is None or now >= lease.expires_at:
            return self._replace(lease)
        if now >= lease.renew_at and self._renewing.acquire(blocking=False):
            try:
                self._prolong(lease, now)
            finally:
                self._renewing.release()
        return self._lease or lease

    def keep_alive(self) -> None:
        """Renew or replace the token if that is due; nothing before its first use. Reports, and never raises."""
        if self._lease is not None:
            try:
                self.lease()
            except SecretsUnavailable:
                return  # `login_failed` has been reported

    def after_refusal(self, refused: Lease) -> Lease | None:
        """What to try again with after a 403 on `refused`; None when the refusal stands.

        A dead token is replaced. A living one is replaced once in `patience` seconds, as the role may have been given
        other policies meanwhile; should that login fail, the living token's 403 was Vault's word.
        Raises SecretsUnavailable when the token is dead and logging in fails.
        """
        if self._lease is not refused and self._lease is not None:
            return self._lease
        if not lives(refused):
            return self._replace(refused)
        if self._clock() - refused.logged_in_at < self._patience:
            return None
        try:
            return self._replace(refused)
        except SecretsUnavailable:
            return None

    def close(self) -> None:
        """Close the connections. The token is left to expire."""
        self._session.close()

    def client(self, token: str) -> hvac.Client:
        """A client on our connections, for another token than ours."""
        return self._endpoint.client(self._session, token)

    def _replace(self, worn: Lease | None) -> Lease:
        return self._logins.do("login", lambda: self._login(worn))

    def _login(self, worn: Lease | None) -> Lease:
        if self._lease is not None and self._lease is not worn:
            return self._lease  # somebody else did it between our look and our flight
        try:
            self._lease = self._logged_in()
        except SecretsUnavailable as error:
            self._on_event("login_failed", str(error))
            raise
        self._on_event("login", "logged in to Vault")
        return self._lease

    def _logged_in(self) -> Lease:
        anonymous = self._endpoint.client(self._session, token="")
        now = self._clock()  # before asking: the TTL may have begun when the answer arrives
        try:
            answer = self._credentials.login(anonymous)
        except VaultRefused:
            raise SecretsUnavailable("Vault refuses our login") from None
        token, ttl, renewable = auth_of(answer)
        ttl = ttl or math.inf  # 0 means a token that never ends; of a renewal it means less than a second
        client = self._endpoint.client(self._session, token)
        return Lease(client, ttl, renewable, now, now + ttl * RENEW_AT, now + ttl)

    def _prolong(self, lease: Lease, now: float) -> None:
        if self._lease is not lease:
            return
        try:
            renewed = self._renewed(lease, now)
            if renewed is None:
                self._replace(lease)
            elif self._lease is lease:
                self._lease = renewed
        except SecretsUnavailable as error:
            self._on_event("renewal_failed", str(error))
            least, most = _RETRY_SECONDS
            pause = min(most, max(least, (lease.expires_at - now) / 3))
            if self._lease is lease:
                self._lease = replace(lease, renew_at=now + pause)

    def _renewed(self, lease: Lease, now: float) -> Lease | None:
        """The lease with its new times, or None when a new login should follow: refused, or less than before.

        Near the maximum TTL Vault grants less and less, and then nothing.
        """
        if not lease.renewable:
            return None
        try:
            _, ttl, _ = auth_of(lease.client.auth.token.renew_self())
        except (VaultRefused, VaultErred):
            return None
        if ttl < lease.granted:
            return None
        return replace(lease, renew_at=now + ttl * RENEW_AT, expires_at=now + ttl)


def asked(holder: TokenHolder, question: Callable[[hvac.Client], T]) -> T:
    """Ask Vault, and once more after a 403 if another token may change the answer.

    Raises VaultRefused when the refusal stands, SecretsUnavailable.
    """
    lease = holder.lease()
    try:
        return question(lease.client)
    except VaultRefused as refused:
        second = holder.after_refusal(lease) if refused.status == 403 else None
        if second is None:
            raise
    return question(second.client)


def lives(lease: Lease) -> bool:
    """Whether Vault still knows the token. Raises SecretsUnavailable."""
    try:
        lease.client.auth.token.lookup_self()
    except VaultRefused:
        return False
    return True


def auth_of(answer: Mapping[str, Any]) -> tuple[str, float, bool]:
    """(token, TTL in seconds, renewable) of a login's or a renewal's answer."""
    match answer:
        case {"auth": {"client_token": str(token), "lease_duration": int(ttl)} as auth} if token and ttl >= 0:
            return token, float(ttl), bool(auth.get("renewable"))
        case _:
            raise SecretsUnavailable("the answer is not one of Vault's")
