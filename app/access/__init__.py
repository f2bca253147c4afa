"""Access: who is asking, and what may they have. Law: no request waits for an identity provider.

A token is good or it is Unauthenticated; which one is decided from memory alone. Nothing here knows routes, answers or
targets beyond their names; `flask_jwt` is the one module that knows Flask.
"""

from app.access.access import Access
from app.access.attempts import FailedAttempts
from app.access.bearer import any_token, bearer_token
from app.access.fetch import fetch_document
from app.access.file_keys import FileKeys
from app.access.flask_jwt import install
from app.access.issuers import Issuer, Issuers
from app.access.jwk import ALGORITHMS
from app.access.keys import JwksKeys, Keys, KeyStatus
from app.access.permissions import Action, allows, holds, parse_grant, parse_grants, view_for
from app.access.profiles import IssuerProfile, IssuersError, load_issuers
from app.access.rbac import Rbac, RbacError, load_rbac
from app.access.revocations import KINDS, Revocations
from app.access.tickets import LocalTickets, RedisTickets, Tickets
from app.access.verifier import TokenVerifier

__all__ = [
    "ALGORITHMS",
    "KINDS",
    "Access",
    "Action",
    "FailedAttempts",
    "FileKeys",
    "Issuer",
    "IssuerProfile",
    "Issuers",
    "IssuersError",
    "JwksKeys",
    "KeyStatus",
    "Keys",
    "LocalTickets",
    "Rbac",
    "RbacError",
    "RedisTickets",
    "Revocations",
    "Tickets",
    "TokenVerifier",
    "allows",
    "any_token",
    "bearer_token",
    "fetch_document",
    "holds",
    "install",
    "load_issuers",
    "load_rbac",
    "parse_grant",
    "parse_grants",
    "view_for",
]
