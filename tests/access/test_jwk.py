"""Which published keys are trusted, and for what."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from app.access.jwk import ALGORITHMS, parse_jwks, parse_pem
from devstack.issuer import SigningKey, new_key

BOTH = ("RS256", "ES256")


@pytest.fixture(scope="module")
def rsa_key() -> SigningKey:
    return new_key("RS256")


@pytest.fixture(scope="module")
def ec_key() -> SigningKey:
    return new_key("ES256")


def document(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_a_key_is_bound_to_the_algorithm_it_names(rsa_key: SigningKey, ec_key: SigningKey) -> None:
    keys = parse_jwks(document(rsa_key.jwk, ec_key.jwk), [*BOTH, "RS512", "PS256"])

    assert keys.find(rsa_key.kid, "RS256").algorithm_name == "RS256"
    assert keys.find(ec_key.kid, "ES256").algorithm_name == "ES256"
    for kid, algorithm in [(rsa_key.kid, "RS512"), (rsa_key.kid, "ES256"), (ec_key.kid, "RS256"), ("other", "RS256")]:
        with pytest.raises(KeyError):
            keys.find(kid, algorithm)
    with pytest.raises(KeyError):
        keys.find(None, "RS256")


def test_a_key_that_names_no_algorithm_serves_the_allowed_ones_of_its_type(rsa_key: SigningKey) -> None:
    nameless = {name: value for name, value in rsa_key.jwk.items() if name != "alg"}

    keys = parse_jwks(document(nameless), ["RS256", "RS512", "ES256"])

    assert {name: keys.find(rsa_key.kid, name).algorithm_name for name in ("RS256", "RS512")} == {
        "RS256": "RS256",
        "RS512": "RS512",
    }
    with pytest.raises(KeyError):
        keys.find(rsa_key.kid, "ES256")
    with pytest.raises(KeyError):
        keys.find(rsa_key.kid, "PS256")


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"use": ["sig"]},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"alg": "HS256"},
        {"alg": "none"},
        {"alg": "RS512"},
        {"alg": 5},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "EC"},
        {"kty": None},
        {"n": None},
        {"n": 12},
        {"n": "!!"},
        {"e": ""},
        {"kid": None},
        {"kid": ""},
        {"kid": 7},
        {"kid": ["a"]},
        {"kid": "k" * 256},
    ],
)
def test_what_is_no_public_signature_key_is_left_out_and_the_others_stay(
    rsa_key: SigningKey, ec_key: SigningKey, change: dict[str, Any]
) -> None:
    keys = parse_jwks(document({**rsa_key.jwk, **change}, 7, None, "x", ec_key.jwk), BOTH)

    assert len(keys) == 1
    assert ec_key.kid in keys


def test_a_private_key_that_was_published_is_left_out(rsa_key: SigningKey, ec_key: SigningKey) -> None:
    assert isinstance(rsa_key.private, rsa.RSAPrivateKey)
    assert isinstance(ec_key.private, ec.EllipticCurvePrivateKey)
    leaked_rsa = {**RSAAlgorithm.to_jwk(rsa_key.private, as_dict=True), "kid": "rsa", "key_ops": ["verify"]}
    leaked_ec = {**ECAlgorithm.to_jwk(ec_key.private, as_dict=True), "kid": "ec", "key_ops": ["verify"]}

    assert len(parse_jwks(document(leaked_rsa, leaked_ec), BOTH)) == 0


def test_a_short_rsa_key_is_left_out() -> None:
    public = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    jwk = {**RSAAlgorithm.to_jwk(public, as_dict=True), "kid": "short"}

    assert len(parse_jwks(document(jwk), BOTH)) == 0


def test_a_curve_serves_its_own_algorithm_only() -> None:
    public = ec.generate_private_key(ec.SECP384R1()).public_key()
    jwk = {**ECAlgorithm.to_jwk(public, as_dict=True), "kid": "p384"}

    assert len(parse_jwks(document(jwk), BOTH)) == 0
    assert parse_jwks(document(jwk), ["ES384"]).find("p384", "ES384").algorithm_name == "ES384"


def test_of_two_keys_of_one_id_the_first_counts(rsa_key: SigningKey, ec_key: SigningKey) -> None:
    keys = parse_jwks(document(rsa_key.jwk, {**ec_key.jwk, "kid": rsa_key.kid}), BOTH)

    with pytest.raises(KeyError):
        keys.find(rsa_key.kid, "ES256")


def test_an_empty_set_is_a_set() -> None:
    assert len(parse_jwks(b'{"keys": []}', BOTH)) == 0


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": null}',
        b"[" * 100_000,
        document(*[{}] * 101),
    ],
)
def test_what_is_no_key_set_is_a_clear_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_jwks(text, BOTH)


def test_a_pem_key_serves_every_key_id(rsa_key: SigningKey, ec_key: SigningKey) -> None:
    assert parse_pem(rsa_key.pem.encode(), BOTH).find(None, "RS256").algorithm_name == "RS256"
    assert parse_pem(ec_key.pem.encode(), BOTH).find("any", "ES256").algorithm_name == "ES256"
    with pytest.raises(KeyError):
        parse_pem(rsa_key.pem.encode(), BOTH).find("any", "ES256")


def test_other_pem_files_are_refused(rsa_key: SigningKey) -> None:
    private = rsa_key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    odd = ec.generate_private_key(ec.SECP384R1()).public_key()
    wrong_curve = odd.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    for text in (private, wrong_curve, b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        with pytest.raises(ValueError, match=r"."):
            parse_pem(text, BOTH)


def test_no_shared_secret_and_no_unsigned_algorithm_is_offered() -> None:
    assert not {name for name in ALGORITHMS if name.startswith(("HS", "none"))}
