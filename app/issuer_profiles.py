"""The issuers that the settings name: one by itself, or those of ISSUERS_FILE, for which the settings are defaults."""

from __future__ import annotations

from app.access import IssuerProfile, load_issuers
from app.settings import Settings


def issuer_profiles(settings: Settings) -> tuple[IssuerProfile, ...]:
    """Raises IssuersError when the file describes none."""
    by_settings = IssuerProfile(
        issuer=settings.jwt_issuer or "",
        audience=settings.jwt_audience,
        jwks_url=settings.jwt_jwks_url,
        public_key_file=settings.jwt_public_key_file,
        discovery=settings.jwt_discovery,
        algorithms=settings.jwt_algorithms,
        leeway_seconds=settings.jwt_leeway_seconds,
        max_lifetime_seconds=settings.jwt_max_lifetime_seconds,
        permission_claims=settings.jwt_permission_claims,
        service_claim=settings.service_claim,
        env_claim=settings.env_claim,
    )
    return load_issuers(settings.issuers_file, by_settings) if settings.issuers_file else (by_settings,)
