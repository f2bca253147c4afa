"""The one place that reads a token out of an Authorization header (RFC 6750, section 2.1)."""

from __future__ import annotations

import re

from app.errors import Unauthenticated

#: The scheme's name is case-insensitive (RFC 9110, section 11.1); one space and one b64token follow, nothing else.
_BEARER = re.compile(r"bearer (?P<token>[A-Za-z0-9._~+/-]+=*)", re.IGNORECASE | re.ASCII)


def bearer_token(header: str | None) -> str:
    """The token in the header's value. Raises Unauthenticated when there is none, or anything beside it."""
    if not header:
        raise Unauthenticated("a bearer token is required")
    found = _BEARER.fullmatch(header)
    if found is None:
        raise Unauthenticated("the Authorization header must be 'Bearer' and one token")
    return found["token"]
