"""Which secrets an Effective needs, at which versions, read and ready to be filled in on the way out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from app.cache import LocalCache
from app.engine.cipher_in import UNREADABLE, CipherReader
from app.engine.transit_in import TransitReader
from app.errors import BusUnavailable, SecretRefused
from app.model import Effective, Json, Reference, Secret, SecretPath, Target
from app.notify import CursorStore, now_text
from app.secrets import Held, Known, PathPolicy, SecretDenied, SecretStore, value_of


class Versions:
    """What the workers agree on about secrets' versions, through the cursor. Silent while nobody can be asked."""

    def __init__(
        self, store: CursorStore, epoch: Callable[[], str], on_rotated: Callable[[SecretPath, Known], None]
    ) -> None:
        self._store = store
        self._epoch = epoch
        self._on_rotated = on_rotated

    def adopt(self, path: SecretPath, found: Known) -> Known | None:
        """The agreed version of a path that nobody has announced; None when nobody can be asked now."""
        try:
            return self._store.adopt(self._epoch(), path, found)
        except BusUnavailable:
            return None

    def rotate(self, path: SecretPath, before: Known, after: Known) -> None:
        """Tell the others of a change seen here; losing this call costs one round of the version watch."""
        with suppress(BusUnavailable):
            if self._store.rotate(self._epoch(), path, before, after):
                self._on_rotated(path, after)


@dataclass(frozen=True, slots=True)
class Secrets:
    """The documents behind the references of one Effective. Plaintext; never leaves the process."""

    by_reference: Mapping[Reference, Secret]
    #: Per reference what tells a version from another of the same number (see SecretWatch); empty as a rule.
    lives: Mapping[str, str] = field(default_factory=dict)
    #: Encrypted values that are not what this server's keys decrypt.
    unreadable: frozenset[Reference] = frozenset()

    def lookup(self, reference: Reference) -> Json:
        return value_of(self.by_reference[reference], reference.key, reference.inside)

    @property
    def documents(self) -> tuple[Secret, ...]:
        """Those of Vault, each once."""
        from_vault = (secret for reference, secret in self.by_reference.items() if not reference.is_cipher)
        return tuple({id(secret): secret for secret in from_vault}.values())

    @property
    def stale(self) -> bool:
        """Whether one of them is served from memory because Vault does not answer."""
        return any(secret.stale for secret in self.by_reference.values())

    @property
    def versions(self) -> Mapping[str, str]:
        """What the etag covers of the secrets: versions, never content."""
        return {
            reference.text: f"{secret.version}{self.lives.get(reference.text, '')}"
            for reference, secret in self.by_reference.items()
        }

    def same_as(self, other: Secrets) -> bool:
        """Whether nothing was read anew in between: the very same documents."""
        mine, theirs = self.by_reference, other.by_reference
        return len(mine) == len(theirs) and all(theirs.get(key) is secret for key, secret in mine.items())


class Denied(SecretRefused):
    """Vault says 403 or 404. `in_use`: it was served before, so this is a withdrawal and no new mistake."""

    def __init__(self, keys: tuple[str, ...], *, in_use: bool) -> None:
        super().__init__(keys)
        self.in_use = in_use


class SecretReader:
    """Applies the path policy, then asks the store. Thread-safe.

    `ciphers` decrypts what the server's own keys have encrypted.
    `transit` has those of Vault's transit engine decrypted; None: they are refused.
    """

    def __init__(
        self,
        store: SecretStore,
        policy: PathPolicy,
        aliases: frozenset[str],
        versions: Versions,
        ciphers: CipherReader,
        transit: TransitReader | None = None,
    ) -> None:
        self._store = store
        self._ciphers = ciphers
        self._transit = transit
        self._policy = policy
        self._aliases = aliases
        self._versions = versions
        self._seen_life: LocalCache[SecretPath, str] = LocalCache(10_000)
        self._adopted: LocalCache[SecretPath, Known] = LocalCache(10_000)
        self._service: str | None = None

    def acting_for(self, service: str) -> SecretReader:
        """The same reader, asking for this service: Vault decides too, where services have tokens of their own."""
        if not self._store.per_service:
            return self
        twin = copy.copy(self)
        twin._service = service
        return twin

    def check(self, effective: Effective, target: Target) -> None:
        """Raise SecretRefused, naming the properties, if a reference is not this target's to use. Asks nobody."""
        refused = [
            key
            for reference, keys in effective.references.items()
            if not self._may_have(reference, target)
            for key in keys
        ]
        if refused:
            raise SecretRefused(refused)

    def _may_have(self, reference: Reference, target: Target) -> bool:
        if reference.inside is not None:
            return True
        if reference.is_cipher:
            return self._ciphers.allows(reference, target)
        if reference.is_transit:
            return self._transit is not None and self._transit.allows(reference, target)
        return reference.alias in self._aliases and self._policy.allows(reference, target)

    def read(self, effective: Effective, announced: Mapping[SecretPath, Known]) -> Secrets:
        """Read every document once, at the announced version. Raises Denied, SecretsUnavailable."""
        documents: dict[tuple[SecretPath, int | None], Secret] = {}
        found = self._from_transit(effective)
        for reference, keys in effective.references.items():
            if reference.is_transit:
                continue
            if reference.is_cipher:
                found[reference] = self._ciphers.read(reference)
                continue
            path = SecretPath(reference.alias, reference.path)
            wanted = (path, reference.version)
            try:
                if wanted not in documents:
                    documents[wanted] = self._document(path, reference.version, announced)
                value_of(documents[wanted], reference.key, reference.inside)
            except SecretDenied as denied:
                agreed = announced.get(path) or self._adopted.get(path)
                known = self._store.known(path, reference.key) or (denied.whole_path and agreed is not None)
                raise Denied(keys, in_use=known) from denied
            found[reference] = documents[wanted]
        unreadable = frozenset(reference for reference, secret in found.items() if secret is UNREADABLE)
        return Secrets(found, self._lives(found, announced), unreadable)

    def _from_transit(self, effective: Effective) -> dict[Reference, Secret]:
        if self._transit is None:
            return {}
        found = self._transit.read(effective, self._service)
        for reference, keys in effective.references.items():
            if reference.is_transit and reference not in found:
                raise Denied(keys, in_use=self._transit.was_in_use(reference))
        return found

    def _lives(self, found: Mapping[Reference, Secret], announced: Mapping[SecretPath, Known]) -> dict[str, str]:
        """KV v2 has no digest to announce, so what stands there marks a path that was deleted and made anew.

        Of an encrypted value the key that has decrypted it.
        """
        lives: dict[str, str] = {}
        for reference, secret in found.items():
            if reference.is_cipher:
                lives[reference.text] = f"/{secret.path.path}"
                continue
            known = announced.get(secret.path)
            if known is not None and known.digest and not secret.digest:
                lives[reference.text] = f"/{known.digest}"
        return lives

    def document(self, path: SecretPath, announced: Mapping[SecretPath, Known]) -> Secret | None:
        """A whole document at the announced version; None where it is announced that there is none.

        Raises SecretDenied, SecretsUnavailable.
        """
        known = announced.get(path) or self._adopted.get(path)
        if known is not None and known.gone:
            self._store.get(path, None)  # only to find out whether it is refused: one that has come is announced first
            return None
        return self._document(path, None, announced)

    def adopt_absent(self, path: SecretPath) -> None:
        """Agree with the others that there is nothing, so that the version watch looks out for it."""
        agreed = self._versions.adopt(path, Known(1, gone=True))
        if agreed is not None:
            self._adopted.put(path, agreed)

    def _document(self, path: SecretPath, pinned: int | None, announced: Mapping[SecretPath, Known]) -> Secret:
        if pinned is not None:
            secret = self._store.get(path, pinned, self._service)
            if not secret.digest:
                return secret
            # KV v1 has the current data only, whatever version is asked for: so it is followed like any other.
        known = announced.get(path) or self._adopted.get(path)
        if known is None:
            return self._first(path)
        if known.gone or self._seen_life.get(path) not in (None, known.digest):
            self._store.forget(path)
        self._seen_life.put(path, known.digest)
        try:
            secret = self._store.get(path, known.version, self._service)
        except SecretDenied as denied:
            return self._newer(path, known, denied)
        if known.gone and not secret.digest:
            raise SecretDenied  # undeleted, or made anew under the old number: the watch finds out, and announces which
        if not secret.digest or secret.digest == known.digest:
            return secret
        # KV v1 has no versions: other data than announced is the next one, here and in every worker that looks.
        after = Known(known.version + 1, secret.digest)
        self._versions.rotate(path, known, after)
        return self._store.get(path, after.version, self._service)

    def _newer(self, path: SecretPath, known: Known, denied: SecretDenied) -> Secret:
        """The announced version is gone: destroyed, or pushed out by newer ones. If one is there, it is the next."""
        if denied.whole_path:
            raise denied
        latest = self._store.get(path, None, self._service)
        if latest.version <= known.version:
            raise denied
        self._versions.rotate(path, known, Known(latest.version))
        return latest

    def _first(self, path: SecretPath) -> Secret:
        """Nothing is announced of this path: read the latest, and agree with the others that this is the version."""
        latest = self._store.get(path, None, self._service)
        found = Known(latest.version or 1, latest.digest)
        agreed = self._versions.adopt(path, found)
        if agreed is not None:
            self._adopted.put(path, agreed)
        return self._store.get(path, (agreed or found).version, self._service)

    def held(self, secrets: Sequence[Secret], announced: Mapping[SecretPath, Known]) -> Held | None:
        """These documents of Vault, as long as they are held; None where `read` would ask for one of them again."""
        for secret in secrets:
            known = announced.get(secret.path) or self._adopted.get(secret.path)
            if known is not None and known.gone:
                return None
        return self._store.held(secrets, self._service)

    def holds(self, held: Held) -> bool:
        return self._store.holds(held)

    def unavailable_since(self) -> str:
        """Since when Vault does not answer (RFC 3339); this moment, if it has just come back."""
        return str(self._store.status()["since"] or now_text())

    def forget_adopted(self) -> None:
        """A new epoch has begun: versions are agreed upon anew."""
        self._adopted.clear()
