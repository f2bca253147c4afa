"""Signatures of webhooks as the Standard Webhooks specification has them, for those that we send and receive.

`webhook-id`, `webhook-timestamp` (Unix seconds) and `webhook-signature`: `v1,` and the base64 of an HMAC-SHA256 over
`id.timestamp.body`, perhaps several with a blank between them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

#: How far the clocks of sender and receiver may be apart, in seconds. An older word is a replayed one.
TOLERANCE: Final = 300.0
_PREFIX: Final = b"whsec_"


def key_of(secret: bytes) -> bytes:
    """The key that a secret stands for: `whsec_` and base64, or the bytes themselves. Raises ValueError."""
    if not secret.startswith(_PREFIX):
        return secret
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a secret that begins with whsec_ goes on in base64") from None


def signature(key: bytes, identity: str, seconds: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = f"{identity}.{seconds}.".encode("utf-8", "surrogateescape") + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def is_signature(key: bytes, given: str, identity: str, timestamp: str, body: bytes, *, now: float) -> bool:
    """Whether `given` has a good signature, and the word is not older or newer than it may be."""
    if not (timestamp.isascii() and timestamp.isdigit()) or len(timestamp) > 12 or not identity:
        return False
    if abs(now - int(timestamp)) > TOLERANCE:
        return False
    expected = signature(key, identity, int(timestamp), body).encode()
    offered = given[:1000].encode("utf-8", "surrogateescape").split(b" ")
    return any(hmac.compare_digest(each, expected) for each in offered)
