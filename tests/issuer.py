"""The identity provider's former place."""

from devstack.issuer import DISCOVERY_PATH, JWKS_PATH, LocalIssuer, Mode, SigningKey, new_key

__all__ = ["DISCOVERY_PATH", "JWKS_PATH", "LocalIssuer", "Mode", "SigningKey", "new_key"]
