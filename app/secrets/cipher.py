"""Values encrypted with the server's own key, as Spring Cloud Config writes them: `{cipher}<hex>`.

Spring Security's `Encryptors.text(password, "deadbeef")`: hexadecimal of IV and AES-256-CBC with PKCS #7, the key
derived by PBKDF2 with HMAC-SHA1 in 1024 rounds. There is no MAC: whoever may write the file may write the value.
"""

from __future__ import annotations

import hashlib
import os
import re

from cryptography.hazmat.primitives.ciphers import Cipher as Aes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

_SALT = bytes.fromhex("deadbeef")
_ROUNDS = 1024
_BLOCK = 16
#: `{key:alias}{secret:...}` name keys of a key store; there is one key here. `{plain}` ends them.
_PREFIXES = re.compile(r"(?:\{(?:key|secret|name|profiles):[^{}]*\})*(?:\{plain\})?")


class Undecipherable(ValueError):
    """Not hexadecimal of whole blocks, or not encrypted with this key."""


class Cipher:
    """Encrypts and decrypts with one password. Immutable; thread-safe."""

    def __init__(self, password: str) -> None:
        self._key = hashlib.pbkdf2_hmac("sha1", password.encode(), _SALT, _ROUNDS, dklen=32)
        #: Tells one key from another, and nothing of either.
        self.id = hashlib.sha256(b"id of " + self._key).hexdigest()[:16]

    def encrypt(self, text: str) -> str:
        """Another text each time."""
        start = os.urandom(_BLOCK)
        padder = PKCS7(8 * _BLOCK).padder()
        worker = Aes(AES(self._key), CBC(start)).encryptor()
        return (start + worker.update(padder.update(text.encode()) + padder.finalize()) + worker.finalize()).hex()

    def decrypt(self, text: str) -> str:
        """Raises Undecipherable."""
        try:
            data = bytes.fromhex(text)
            worker = Aes(AES(self._key), CBC(data[:_BLOCK])).decryptor()
            unpadder = PKCS7(8 * _BLOCK).unpadder()
            plain = worker.update(data[_BLOCK:]) + worker.finalize()
            return (unpadder.update(plain) + unpadder.finalize()).decode()
        except ValueError:
            raise Undecipherable("the text is not encrypted with this key") from None


def without_prefixes(text: str) -> str:
    """What is to be encrypted or decrypted, without what names a key before it."""
    match = _PREFIXES.match(text)
    return text[match.end() :] if match else text
