"""Which of a configuration's values the server's own keys decrypt, for whom, and what they are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from app.cache import LocalCache
from app.model import CIPHER, Reference, Secret, SecretPath, Target
from app.secrets import KeyRing, PathPolicy, Undecipherable, alias_of, without_prefixes

#: Stands for an encrypted value that this server's keys do not decrypt.
UNREADABLE = Secret(SecretPath(CIPHER, "unreadable"), 0, {"": "<n/a>"})


@dataclass(frozen=True, slots=True)
class CipherReader:
    """`keys` None: the values are left to who reads the configuration, as they are written. Thread-safe.

    `policy` holds the templates of the keys' names; None: every target may use every key.
    """

    keys: KeyRing | None = None
    policy: PathPolicy | None = None
    _deciphered: LocalCache[Reference, Secret] = field(default_factory=lambda: LocalCache(10_000), repr=False)

    def allows(self, reference: Reference, target: Target) -> bool:
        """A value that was copied from another target's file is encrypted with a key that is not this target's."""
        if self.keys is None or self.policy is None:
            return True
        return self.policy.allows(replace(reference, path=self.keys.name_of(alias_of(reference.path))), target)

    def read(self, reference: Reference) -> Secret:
        """Decrypted once; the very same document each time, so that nothing seems to have changed."""
        known = self._deciphered.get(reference)
        if known is None:
            known = self._deciphered_anew(reference)
            self._deciphered.put(reference, known)
        return known

    def _deciphered_anew(self, reference: Reference) -> Secret:
        if self.keys is None:
            return Secret(SecretPath(CIPHER, ""), 0, {reference.key: reference.text})
        try:
            cipher = self.keys.of(alias_of(reference.path))
            plain = cipher.decrypt(without_prefixes(reference.path))
        except Undecipherable:
            return UNREADABLE
        return Secret(SecretPath(CIPHER, cipher.id), 0, {reference.key: plain})
