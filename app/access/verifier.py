"""From a token's text to the principal it speaks for."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable

from jwt import PyJWK

from app.access.claims import Claims, check_header, principal_of
from app.access.issuers import Issuer, Issuers
from app.access.rbac import Rbac
from app.access.remembered import RememberedTokens
from app.errors import Unauthenticated
from app.model import Principal

MAX_TOKEN_BYTES = 16 * 1024

#: Three parts of base64url without padding (RFC 7515, section 7.1). An unsigned token has an empty third part.
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class TokenVerifier:
    """Verifies tokens of the issuers in the table, and remembers for a while which ones were good. Thread-safe.

    The signature is checked by the function given to `decode_with` (see `app.access.flask_jwt.install`), which asks
    `key_for` for the key; who the bearer is, is decided here. A remembered token needs neither.
    """

    def __init__(
        self,
        issuers: Issuers,
        rbac: Rbac,
        *,
        clock: Callable[[], float] = time.time,
        remember: int = 10_000,
        remember_seconds: float = 60,
        revoked: Callable[[Principal], bool] = lambda principal: False,
    ) -> None:
        """`clock` gives Unix seconds; at most `remember` tokens are remembered, until the earlier of their expiry and
        `remember_seconds`: so long may a key that its issuer withdrew still count. `revoked` is asked every time.
        """
        self.issuers = issuers
        self._rbac = rbac
        self._clock = clock
        self._remembered = RememberedTokens(remember)
        self._remember_seconds = remember_seconds
        self._revoked = revoked
        self._decode: Callable[[str], tuple[Claims, Claims]] = _not_installed

    def decode_with(self, decode: Callable[[str], tuple[Claims, Claims]]) -> None:
        """Let `decode` turn a token into its header and claims, signature verified, or raise Unauthenticated."""
        self._decode = decode

    def verify(self, token: str) -> Principal:
        """The principal. Raises Unauthenticated, with a reason that is safe to show."""
        if len(token) > MAX_TOKEN_BYTES:
            raise Unauthenticated("the token is too large")
        if not token.isascii():
            raise Unauthenticated("the token is malformed")
        digest = hashlib.sha256(token.encode("ascii")).digest()
        now = self._clock()
        principal = self._remembered.get(digest, now)
        if principal is None:
            principal = self._verify_afresh(token)
            until = min(principal.expires_at, now + self._remember_seconds)
            self._remembered.put(digest, principal, now=now, until=until)
        if self._revoked(principal):
            raise Unauthenticated("the token has been revoked")
        return principal

    def recall(self, token: str) -> Principal | None:
        """The principal of a token that was verified a moment ago and is not revoked; of any other `verify` decides."""
        if not token.isascii():
            return None
        principal = self._remembered.peek(hashlib.sha256(token.encode("ascii")).digest(), self._clock())
        return principal if principal is not None and not self._revoked(principal) else None

    def key_for(self, header: Claims, claims: Claims) -> PyJWK:
        """The key for a token whose signature is not verified yet. Raises Unauthenticated; fetches nothing."""
        issuer = self._issuer(claims)
        kid, algorithm = check_header(header, issuer)
        try:
            return issuer.keys.key(kid, algorithm)
        except KeyError as error:
            raise Unauthenticated("the token's key is not known") from error

    def principal_for(self, header: Claims, claims: Claims) -> Principal:
        """The principal of a header and claims whose signature is verified. Raises Unauthenticated."""
        issuer = self._issuer(claims)
        check_header(header, issuer)
        return principal_of(claims, issuer, self._rbac, self._clock())

    def is_revoked(self, principal: Principal) -> bool:
        return self._revoked(principal)

    def _verify_afresh(self, token: str) -> Principal:
        if not _COMPACT.fullmatch(token):
            raise Unauthenticated("the token is malformed")
        return self.principal_for(*self._decode(token))

    def _issuer(self, claims: Claims) -> Issuer:
        issuer = self.issuers.find(claims.get("iss"))
        if issuer is None:
            raise Unauthenticated("the token's issuer is not trusted")
        return issuer


def _not_installed(_token: str) -> tuple[Claims, Claims]:
    raise RuntimeError("the verifier has not been installed in an application")
