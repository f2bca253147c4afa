"""What a token must say for itself before and after its signature is verified. Pure; the issuer decides the rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from app.access.issuers import Issuer
from app.access.permissions import parse_grants
from app.access.rbac import Rbac
from app.errors import Unauthenticated
from app.model import NAME, Grant, Principal

Claims = Mapping[str, object]

#: Header `typ` of an access token (RFC 9068, section 2.1), lower case. Many providers leave it out.
_TOKEN_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})

#: Payload `typ` (Keycloak) and `type` (flask-jwt-extended) of tokens signed by the same keys for another purpose.
_OTHER_KINDS = frozenset({"id", "refresh", "offline", "logout"})

_LAST_SECOND = 253_402_300_799  # of the year 9999: beyond it is nonsense, and arithmetic on it may overflow
_MAX_TEXT = 255


def check_header(header: Claims, issuer: Issuer) -> tuple[str | None, str]:
    """The key id and algorithm that the header names, if both may be. Raises Unauthenticated.

    `jku`, `jwk`, `x5u` and `x5c` are never looked at: a token does not choose its own judge.
    """
    if "crit" in header or "b64" in header:
        raise Unauthenticated("the token uses an extension that is not supported")
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
        raise Unauthenticated("the token's algorithm is not allowed")
    if not isinstance(kid, str | None):
        raise Unauthenticated("the token's key id is not a text")
    if kind is not None and (not isinstance(kind, str) or kind.lower() not in _TOKEN_TYPES):
        raise Unauthenticated("the token is not an access token")
    return kid, algorithm


def principal_of(claims: Claims, issuer: Issuer, rbac: Rbac, now: float) -> Principal:
    """Who the verified claims speak for. `now` is Unix seconds. Raises Unauthenticated when a claim will not do."""
    if claims.get("iss") != issuer.issuer:
        raise Unauthenticated("the token's issuer is not trusted")
    _check_kind(claims)
    _check_audience(claims.get("aud"), issuer)
    expires_at = _checked_times(claims, issuer, now)
    return Principal(
        issuer=issuer.issuer,
        subject=_text(claims, "sub"),
        grants=_grants(claims, issuer, rbac),
        expires_at=expires_at,
        token_id=None if claims.get("jti") is None else _text(claims, "jti"),
        service=_name(claims, issuer.service_claim),
        env=_name(claims, issuer.env_claim),
    )


def _check_kind(claims: Claims) -> None:
    """An ID token tells a client who logged in; it is no permission to call anybody (RFC 9068, section 5)."""
    kinds = {kind.lower() for name in ("typ", "type") if isinstance(kind := claims.get(name), str)}
    if "nonce" in claims or kinds & _OTHER_KINDS:
        raise Unauthenticated("the token is not an access token")


def _check_audience(audience: object, issuer: Issuer) -> None:
    named = audience if isinstance(audience, list) else [audience]
    if not any(isinstance(name, str) and name in issuer.audiences for name in named):
        raise Unauthenticated("the token is for another audience")


def _checked_times(claims: Claims, issuer: Issuer, now: float) -> float:
    """`exp`, after all three times have been looked at (RFC 7519, sections 4.1.4 to 4.1.6)."""
    expires, before, issued = (_seconds(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is None:
        raise Unauthenticated("the token has no expiry")
    if expires <= now - issuer.leeway:
        raise Unauthenticated("the token has expired")
    if max(before or 0, issued or 0) > now + issuer.leeway:
        raise Unauthenticated("the token is not valid yet")
    since = next((moment for moment in (issued, before) if moment is not None), now)
    if expires - since > issuer.max_lifetime:
        raise Unauthenticated("the token's lifetime is too long")
    return expires


def _seconds(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        raise Unauthenticated(f"the token's {name} is not a time")
    return float(value)


def claim_of(claims: Claims, name: str) -> object:
    """The claim of that name. One that begins with a slash is a JSON pointer (RFC 6901) into nested claims."""
    if not name.startswith("/"):
        return claims.get(name)
    value: object = claims
    for part in name[1:].split("/"):
        value = value.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(value, Mapping) else None
    return value


def _text(claims: Claims, name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str):
        raise Unauthenticated(f"the token's {name} must be a text")
    if not 0 < len(value) <= _MAX_TEXT or not value.isprintable():
        raise Unauthenticated(f"the token's {name} must have 1 to {_MAX_TEXT} characters and no control characters")
    return value


def _name(claims: Claims, claim: str | None) -> str | None:
    value = claim_of(claims, claim) if claim else None
    if value is None:
        return None
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise Unauthenticated(f"the token's {claim} is not a legal name")
    return value


def _grants(claims: Claims, issuer: Issuer, rbac: Rbac) -> tuple[Grant, ...]:
    texts = (text for name in issuer.permission_claims for text in _texts(claim_of(claims, name)))
    return tuple(dict.fromkeys((*parse_grants(texts), *rbac.grants(issuer.issuer, claims))))


def _texts(claim: object) -> Iterator[str]:
    """A text holds several, separated by spaces (RFC 8693, section 4.2); in a list each stands for itself."""
    if isinstance(claim, str):
        yield from claim.split(" ")
    elif isinstance(claim, list):
        yield from (item for item in claim if isinstance(item, str))
