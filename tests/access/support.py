"""A verifier on a real issuer, in a real Flask application; clocks to hand in; tokens that no library would write."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from flask import Flask
from jwt import PyJWS

from app.access import Issuer, Issuers, JwksKeys, Keys, Rbac, TokenVerifier, install
from app.errors import Unauthenticated
from app.model import Principal
from devstack.issuer import LocalIssuer, SigningKey

ALGORITHMS = ("RS256", "ES256")

#: Makes a token in the name of an issuer.
Forge = Callable[[LocalIssuer], str]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class OffsetClock:
    """The wall clock, moved by `offset` seconds: the libraries beneath look at the wall clock themselves."""

    def __init__(self) -> None:
        self.offset = 0.0
        self._stopped_at: float | None = None

    def __call__(self) -> float:
        return (time.time() if self._stopped_at is None else self._stopped_at) + self.offset

    def stop(self) -> None:
        """From now on `offset` alone moves it, however long things take."""
        self._stopped_at = time.time()


def patient(url: str) -> bytes:
    """Waits far longer than anybody should for a provider that hangs, which is told apart from a busy machine so."""
    return requests.get(url, timeout=60).content


@dataclass(frozen=True, slots=True)
class Gate:
    issuer: LocalIssuer
    app: Flask
    verifier: TokenVerifier
    clock: OffsetClock

    def verify(self, token: str) -> Principal:
        return self.verifier.verify(token)


def described(provider: LocalIssuer, keys: Keys, **fields: Any) -> Issuer:
    return Issuer(
        **{
            "issuer": provider.url,
            "audiences": frozenset({provider.audience}),
            "algorithms": ALGORITHMS,
            "keys": keys,
            **fields,
        }
    )


@contextmanager
def opened(
    issuer: LocalIssuer,
    *,
    keys: Keys | None = None,
    rbac: Rbac | None = None,
    revoked: Callable[[Principal], bool] = lambda principal: False,
    remember: int = 10_000,
    **fields: Any,
) -> Iterator[Gate]:
    """A verifier whose keys are loaded; `fields` change the Issuer."""
    clock = OffsetClock()
    issuers = Issuers([described(issuer, keys or JwksKeys(issuer.jwks_url, algorithms=ALGORITHMS), **fields)])
    verifier = TokenVerifier(issuers, rbac or Rbac(), clock=clock, revoked=revoked, remember=remember)
    app = Flask("gate")
    install(app, verifier)
    issuers.start()
    try:
        yield Gate(issuer, app, verifier, clock)
    finally:
        issuers.close()


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims_of(issuer: LocalIssuer, **claims: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": issuer.url, "aud": issuer.audience, "sub": "tester", "iat": now, "exp": now + 600, **claims}


def unsigned(header: dict[str, Any], claims: Any, signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64url(part) for part in parts)


def hmac_signed(secret: bytes, header: dict[str, Any], claims: Any) -> str:
    """What an attacker makes of a public key where the algorithm is taken from the token."""
    signing_input = unsigned(header, claims).rpartition(".")[0]
    return f"{signing_input}.{base64url(hmac.digest(secret, signing_input.encode(), hashlib.sha256))}"


def signed_bytes(key: SigningKey, payload: bytes, **header: Any) -> str:
    """A token of any payload, signed well; `header` is added as it is."""
    return PyJWS().encode(payload, key.private, algorithm=key.algorithm, headers={"kid": key.kid, **header})


@contextmanager
def refused(reason: str) -> Iterator[None]:
    with pytest.raises(Unauthenticated) as raised:
        yield
    assert reason in str(raised.value)


def header_of(typ: str | None) -> Forge:
    return lambda issuer: issuer.token(headers={"typ": typ})


def claiming(**claims: Any) -> Forge:
    return lambda issuer: issuer.token(**claims)


def now_and(seconds: float) -> int:
    return int(time.time() + seconds)


def hs256_with_the_public_pem(issuer: LocalIssuer) -> str:
    key = issuer.key()
    return hmac_signed(key.pem.encode(), {"alg": "HS256", "kid": key.kid}, claims_of(issuer))


def unknown_kid(issuer: LocalIssuer) -> str:
    return issuer.token(headers={"kid": "unknown"})
