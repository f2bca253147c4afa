"""Signs a webhook's body as GitHub does: `python -m devstack.sign SECRET-FILE BODY` prints the header's value."""

from __future__ import annotations

import hashlib
import hmac
import sys
from pathlib import Path


def signature(secret: bytes, body: bytes) -> str:
    """The value of X-Hub-Signature-256."""
    return "sha256=" + hmac.digest(secret, body, hashlib.sha256).hex()


if __name__ == "__main__":
    print(signature(Path(sys.argv[1]).read_bytes().strip(), sys.argv[2].encode()))
