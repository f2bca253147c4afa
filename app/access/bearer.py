"""The one place that reads a token out of a request's headers (RFC 6750, section 2.1)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

from app.errors import Unauthenticated

#: The scheme's name is case-insensitive (RFC 9110, section 11.1); one space and one b64token follow, nothing else.
_BEARER = re.compile(r"bearer (?P<token>[A-Za-z0-9._~+/-]+=*)", re.IGNORECASE | re.ASCII)
_BASIC = re.compile(r"basic (?P<credentials>[A-Za-z0-9+/]+=*)", re.IGNORECASE | re.ASCII)
#: What three dots make of a text: nothing else is worth verifying, a Vault token or a password least of all.
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)


def bearer_token(header: str | None) -> str:
    """The token in the header's value. Raises Unauthenticated when there is none, or anything beside it."""
    if not header:
        raise Unauthenticated("a bearer token is required")
    found = _BEARER.fullmatch(header)
    if found is None:
        raise Unauthenticated("the Authorization header must be 'Bearer' and one token")
    return found["token"]


def any_token(header: str | None, others: Iterable[str | None], *, basic: bool) -> str:
    """The token of a client that may have no way to send a Bearer header, as those of Spring Cloud Config.

    `header` is Authorization: a Bearer token there is the one that counts; with `basic`, the password of Basic may be
    one. Then the first of `others` that holds one, with or without the word Bearer. Raises Unauthenticated.
    """
    if header is not None and _BEARER.fullmatch(header):
        return bearer_token(header)
    offered = [_password(header)] if basic and header is not None else []
    for value in (*offered, *others):
        found = value.strip() if value is not None else ""
        if found[:7].lower() == "bearer ":
            found = found[7:].strip()
        if _JWT.fullmatch(found):
            return found
    raise Unauthenticated("a bearer token is required")


def _password(header: str) -> str | None:
    """That of Basic (RFC 7617)."""
    found = _BASIC.fullmatch(header)
    try:
        return base64.b64decode(found["credentials"]).decode().partition(":")[2] if found else None
    except (binascii.Error, UnicodeDecodeError):
        return None
