"""Values encrypted with the server's own key, as Spring Cloud Config writes them: `{cipher}<hex>`.

Spring Security's `Encryptors.text(password, "deadbeef")`: hexadecimal of IV and AES-256-CBC with PKCS #7, the key
derived by PBKDF2 with HMAC-SHA1 in 1024 rounds. There is no MAC: whoever may write the file may write the value.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping

from cryptography.hazmat.primitives.ciphers import Cipher as Aes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

#: The alias of the key for texts that name none.
DEFAULT_KEY = "default"
_SALT = bytes.fromhex("deadbeef")
_ROUNDS = 1024
_BLOCK = 16
#: `{key:alias}` names one of several keys, `{secret:...}` belongs to key stores of Java. `{plain}` ends them.
_PREFIXES = re.compile(r"(?:\{(?:key|secret|name|profiles):[^{}]*\})*(?:\{plain\})?")
_ALIAS = re.compile(r"\{key:([^{}]*)\}")


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


class KeyRing:
    """The server's keys, by the aliases that `{key:ALIAS}` names. Immutable; thread-safe.

    `default` is for texts that name none. Without `named`, for all texts, whatever they name, as there is one key only.
    """

    def __init__(self, default: Cipher | None, named: Mapping[str, Cipher] | None = None) -> None:
        self._default = default
        self._named = named

    def name_of(self, alias: str | None) -> str:
        """Whose key a text is taken for that names `alias`."""
        return DEFAULT_KEY if alias is None or self._named is None else alias

    def of(self, alias: str | None) -> Cipher:
        """Raises Undecipherable when there is no such key."""
        cipher = self._default if alias is None or self._named is None else self._named.get(alias)
        if cipher is None:
            raise Undecipherable("there is no key of this name")
        return cipher


def alias_of(text: str) -> str | None:
    """The key that a text names, if it does; the first of several."""
    match = _PREFIXES.match(text)
    named = _ALIAS.search(match[0]) if match else None
    return named[1] if named else None


def without_prefixes(text: str) -> str:
    """What is to be encrypted or decrypted, without what names a key before it."""
    match = _PREFIXES.match(text)
    return text[match.end() :] if match else text
