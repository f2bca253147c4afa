"""Secrets. Law: plaintext lives in this process's memory alone, and leaves this folder only inside a Secret.

No text, repr or error here holds a value, a token or a path of Vault. Vault is asked only for what the reference
grammar allows; whether a target may have it is PathPolicy's to say, before anyone asks the store. Every call is bounded
in time, and Vault's silence (SecretsUnavailable) is never mistaken for its refusal (SecretDenied).
"""

from app.secrets.approle import AppRole
from app.secrets.backend import Mount, NoSecretBackend, OnEvent, SecretBackend, SecretDenied, value_of
from app.secrets.breaker import Breaker
from app.secrets.cipher import DEFAULT_KEY, Cipher, KeyRing, Undecipherable, alias_of, without_prefixes
from app.secrets.credentials import Auth, JwtRole
from app.secrets.policy import PathPolicy
from app.secrets.rotation import RotationFailed, rotate
from app.secrets.store import Held, SecretStore
from app.secrets.transit import Transit
from app.secrets.transport import Endpoint
from app.secrets.vault import VaultSecretBackend
from app.secrets.watch import Known, Observation, VersionWatch

__all__ = [
    "DEFAULT_KEY",
    "AppRole",
    "Auth",
    "Breaker",
    "Cipher",
    "Endpoint",
    "Held",
    "JwtRole",
    "KeyRing",
    "Known",
    "Mount",
    "NoSecretBackend",
    "Observation",
    "OnEvent",
    "PathPolicy",
    "RotationFailed",
    "SecretBackend",
    "SecretDenied",
    "SecretStore",
    "Transit",
    "Undecipherable",
    "VaultSecretBackend",
    "VersionWatch",
    "alias_of",
    "rotate",
    "value_of",
    "without_prefixes",
]
