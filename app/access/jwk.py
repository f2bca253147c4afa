"""Public keys as the server trusts them: a JWKS document or a PEM file in, keys bound to one algorithm each out.

Pure. What is not a public signature key for an allowed algorithm is left out of a set (RFC 7517, section 5), so that a
provider may publish keys that are not for us.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWK
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

#: algorithm -> (kty, crv) of its keys (RFC 7518, section 3.1; RFC 8037). Shared secrets and `none` are not here.
ALGORITHMS: Mapping[str, tuple[str, str | None]] = MappingProxyType(
    {f"{family}{bits}": ("RSA", None) for family in ("RS", "PS") for bits in (256, 384, 512)}
    | {
        "ES256": ("EC", "P-256"),
        "ES384": ("EC", "P-384"),
        "ES512": ("EC", "P-521"),
        "EdDSA": ("OKP", "Ed25519"),
    }
)

_MAX_KEYS = 100  # far more than any provider publishes; each costs a fraction of a millisecond to load
_MAX_KEY_ID = 255


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys by key id and algorithm, or one key for every key id."""

    by_id: Mapping[str, Mapping[str, PyJWK]] = field(default_factory=dict)
    single: Mapping[str, PyJWK] | None = None

    def find(self, kid: str | None, algorithm: str) -> PyJWK:
        """The key, which verifies `algorithm` and nothing else. Raises KeyError when there is none."""
        if self.single is not None:
            return self.single[algorithm]
        if kid is None:
            raise KeyError("the token names no key")
        return self.by_id[kid][algorithm]

    def __contains__(self, kid: object) -> bool:
        return self.single is not None or kid in self.by_id

    def __len__(self) -> int:
        return len(self.by_id) if self.single is None else 1


def parse_jwks(text: bytes, algorithms: Iterable[str]) -> KeySet:
    """The usable keys of a JWKS document; there may be none. Raises ValueError when it is not such a document."""
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise ValueError("the key set is nested too deeply") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("not a key set: no list named keys")  # noqa: TRY004 - the document's fault, not the caller's
    if len(entries) > _MAX_KEYS:
        raise ValueError(f"more than {_MAX_KEYS} keys")
    allowed = tuple(algorithms)
    by_id: dict[str, Mapping[str, PyJWK]] = {}
    for entry in entries:
        kid = entry.get("kid") if isinstance(entry, dict) else None
        if isinstance(kid, str) and 0 < len(kid) <= _MAX_KEY_ID and (keys := _bound_keys(entry, allowed)):
            by_id.setdefault(kid, keys)
    return KeySet(by_id)


def parse_pem(text: bytes, algorithms: Iterable[str]) -> KeySet:
    """The one public key of a PEM file, for tokens of any key id. Raises ValueError when it is none that serves."""
    try:
        key = load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("not a public key in PEM form") from error
    match key:
        case RSAPublicKey():
            jwk = RSAAlgorithm.to_jwk(key, as_dict=True)
        case EllipticCurvePublicKey():
            jwk = ECAlgorithm.to_jwk(key, as_dict=True)
        case Ed25519PublicKey():
            jwk = OKPAlgorithm.to_jwk(key, as_dict=True)
        case _:
            raise ValueError("neither an RSA, an EC nor an Ed25519 key")
    keys = _bound_keys(jwk, tuple(algorithms))
    if not keys:
        raise ValueError("the key serves none of the allowed algorithms")
    return KeySet(single=keys)


def _bound_keys(jwk: dict[str, object], algorithms: tuple[str, ...]) -> Mapping[str, PyJWK]:
    """algorithm -> key, for each allowed algorithm that this JWK is for: its `alg`, else all that its type fits."""
    if not _is_public_signature_key(jwk):
        return {}
    return dict(_bind(jwk, [name for name in algorithms if jwk.get("alg") in (None, name)]))


def _bind(jwk: dict[str, object], algorithms: Iterable[str]) -> Iterator[tuple[str, PyJWK]]:
    for name in algorithms:
        kty, curve = ALGORITHMS[name]
        if jwk.get("kty") != kty or (curve is not None and jwk.get("crv") != curve):
            continue
        try:
            key = PyJWK(jwk, algorithm=name)
        except PyJWTError:
            continue  # damaged numbers, a point off its curve
        if key.Algorithm.check_key_length(key.key) is None:  # it returns a complaint about short RSA keys
            yield name, key


def _is_public_signature_key(jwk: Mapping[str, object]) -> bool:
    operations = jwk.get("key_ops")
    return (
        jwk.get("use") in (None, "sig")
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
        and "d" not in jwk  # a private key that was published is nobody's proof
    )
