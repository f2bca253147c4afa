"""Which of a configuration's values Vault's transit engine decrypts, for whom, and what they are."""

from __future__ import annotations

from dataclasses import dataclass

from app.model import Effective, Reference, Secret, Target
from app.secrets import PathPolicy, Transit


@dataclass(frozen=True, slots=True)
class TransitReader:
    """`policy` holds the templates of the keys' names. Thread-safe."""

    transit: Transit
    policy: PathPolicy

    def allows(self, reference: Reference, target: Target) -> bool:
        return self.policy.allows(reference, target)

    def read(self, effective: Effective, service: str | None) -> dict[Reference, Secret]:
        """One question for each key that is used; what Vault refuses is missing. Raises SecretsUnavailable."""
        by_key: dict[str, list[Reference]] = {}
        for reference in effective.references:
            if reference.is_transit:
                by_key.setdefault(reference.path, []).append(reference)
        found: dict[Reference, Secret] = {}
        for key, references in by_key.items():
            plain = self.transit.decrypted(key, [each.key for each in references], service)
            found |= {each: plain[each.key] for each in references if each.key in plain}
        return found

    def was_in_use(self, reference: Reference) -> bool:
        return self.transit.was_held(reference.path, reference.key)
