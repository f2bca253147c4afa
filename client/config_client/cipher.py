"""AES-256-GCM for the file on disk, by the package `cryptography` (extra `encryption`)."""

from __future__ import annotations

import hashlib
import os

_NONCE = 12


class AesCipher:
    """`key` is any secret of 16 bytes or more. Raises ImportError where `cryptography` is not installed."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(key) < 16:
            raise ValueError("a key has 16 bytes at least")
        self._aead = AESGCM(hashlib.sha256(b"config-client cache\n" + key).digest())

    def seal(self, plain: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._aead.encrypt(nonce, plain, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self._aead.decrypt(sealed[:_NONCE], sealed[_NONCE:], context)
        except InvalidTag:
            raise ValueError("it was sealed with another key, or is damaged") from None
