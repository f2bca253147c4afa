"""An identity for who has no identity provider: a key that lives as long as the process, and one token."""

from __future__ import annotations

import os
import secrets
import socket
import time
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER = "urn:config-server:development"
AUDIENCE = "config-server"
LIFETIME = 24 * 3600  # seconds
_MAY = "config:read:*/* config:write config:audit config:encrypt config:decrypt"


@dataclass(frozen=True, slots=True)
class Development:
    """The token, and the file with the public key that verifies it. The private key is nowhere any more."""

    token: str
    public_key_file: Path


def new_development(directory: Path) -> Development:
    """A new identity; tokens of an earlier one verify no more. Raises OSError."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = directory / "development.pem"
    draft = public.with_suffix(".new")
    draft.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    os.replace(draft, public)
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "developer",
        "iat": now,
        "exp": now + LIFETIME,
        "jti": secrets.token_hex(8),
        "scope": _MAY,
    }
    return Development(jwt.encode(claims, key, algorithm="ES256"), public)


def is_loopback(bind: str) -> bool:
    """Whether who is on another machine cannot reach `bind` (host:port): every address of the host is loopback."""
    host = bind.rpartition(":")[0].strip("[]")
    try:
        found = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return False
    return all(ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)
