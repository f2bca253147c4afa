"""The verifier's place in a Flask application: flask-jwt-extended, with no default left that lets a token in.

Left alone it accepts tokens without expiry, answers 422, and adds its own signing algorithm (HS256) to those allowed.
"""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask, current_app, has_app_context
from flask.typing import ResponseReturnValue
from flask_jwt_extended import JWTManager, decode_token, get_unverified_jwt_headers
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAlgorithmError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidJTIError,
    InvalidSignatureError,
    InvalidSubjectError,
    MissingRequiredClaimError,
    PyJWTError,
)

from app.access.claims import Claims
from app.access.verifier import TokenVerifier
from app.errors import Unauthenticated
from app.model import Principal

#: Their texts may quote the token; these do not.
_REASONS: Mapping[type[Exception], str] = {
    ExpiredSignatureError: "the token has expired",
    ImmatureSignatureError: "the token is not valid yet",
    InvalidAlgorithmError: "the token's algorithm is not allowed",
    InvalidAudienceError: "the token is for another audience",
    InvalidIssuerError: "the token's issuer is not trusted",
    InvalidJTIError: "the token's jti must be a text",
    InvalidSignatureError: "the token's signature does not verify",
    InvalidSubjectError: "the token's sub must be a text",
    MissingRequiredClaimError: "the token lacks a required claim",
    JWTExtendedException: "the token lacks a required claim",
}


def install(app: Flask, verifier: TokenVerifier) -> JWTManager:
    """Let `verifier` decode by the application's JWTManager, whose `jwt_required` then accepts what `verify` accepts.

    Decoding uses the union of what the issuers allow; each issuer's own rules are applied by the verifier after it.
    """
    issuers = tuple(verifier.issuers)
    algorithms = sorted({name for issuer in issuers for name in issuer.algorithms})
    app.config.update(
        JWT_ALGORITHM=algorithms[0],  # else its default is added to the list below
        JWT_DECODE_ALGORITHMS=algorithms,
        JWT_DECODE_AUDIENCE=sorted({name for issuer in issuers for name in issuer.audiences}),
        JWT_DECODE_ISSUER=[issuer.issuer for issuer in issuers],
        JWT_DECODE_LEEWAY=max(issuer.leeway for issuer in issuers),
        JWT_IDENTITY_CLAIM="sub",
        JWT_TOKEN_LOCATION=["headers"],
        JWT_VERIFY_SUB=True,
    )
    manager = JWTManager(app)
    _load(manager, verifier)
    verifier.decode_with(lambda token: _decode(app, token))
    return manager


def _load(manager: JWTManager, verifier: TokenVerifier) -> None:
    def accepted(header: Claims, claims: Claims) -> bool:
        try:
            verifier.principal_for(header, claims)
        except Unauthenticated:
            return False
        return True

    def revoked(header: Claims, claims: Claims) -> bool:
        try:
            return verifier.is_revoked(verifier.principal_for(header, claims))
        except Unauthenticated:
            return False  # `accepted` refuses it, with the better reason

    def principal(header: Claims, claims: Claims) -> Principal:
        return verifier.principal_for(header, claims)

    manager.decode_key_loader(verifier.key_for)
    manager.token_verification_loader(accepted)
    manager.token_in_blocklist_loader(revoked)
    manager.user_lookup_loader(principal)
    manager.unauthorized_loader(lambda reason: _refused("a bearer token is required"))
    manager.invalid_token_loader(lambda reason: _refused("the token does not verify"))
    manager.expired_token_loader(lambda header, claims: _refused("the token has expired"))
    manager.revoked_token_loader(lambda header, claims: _refused("the token has been revoked"))
    manager.needs_fresh_token_loader(lambda header, claims: _refused("the token is not fresh"))
    manager.token_verification_failed_loader(lambda header, claims: _refused("the token's claims are not acceptable"))
    manager.user_lookup_error_loader(lambda header, claims: _refused("the token's claims are not acceptable"))


def _refused(reason: str) -> ResponseReturnValue:
    """The application's own answer to Unauthenticated; raising it inside an error handler would make it a 500."""
    return current_app.handle_user_exception(Unauthenticated(reason))


def _decode(app: Flask, token: str) -> tuple[Claims, Claims]:
    if has_app_context() and current_app == app:
        return _decode_here(token)
    with app.app_context():
        return _decode_here(token)


def _decode_here(token: str) -> tuple[Claims, Claims]:
    try:
        return get_unverified_jwt_headers(token), decode_token(token)
    except (PyJWTError, JWTExtendedException) as error:
        reasons = (_REASONS[kind] for kind in type(error).__mro__ if kind in _REASONS)
        raise Unauthenticated(next(reasons, "the token is malformed")) from error
