"""A real identity provider on loopback: keys, a JWKS, a discovery document, tokens; and ways to misbehave."""

from __future__ import annotations

import enum
import json
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, cast

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

JWKS_PATH = "/jwks.json"
DISCOVERY_PATH = "/.well-known/openid-configuration"


class Mode(enum.StrEnum):
    """How the HTTP server answers. HANG: not at all until the mode changes. FAIL: 500."""

    SERVE = "serve"
    HANG = "hang"
    FAIL = "fail"
    REDIRECT = "redirect"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with its id. `algorithm` is RS256 or ES256."""

    kid: str
    algorithm: str
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half as a JWK."""
        public = self.private.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            numbers = RSAAlgorithm.to_jwk(public, as_dict=True)
        else:
            numbers = ECAlgorithm.to_jwk(public, as_dict=True)
        numbers = {name: value for name, value in numbers.items() if name != "key_ops"}
        return {**numbers, "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    @property
    def pem(self) -> str:
        """The public half in PEM form."""
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def new_key(algorithm: str = "RS256") -> SigningKey:
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if algorithm == "RS256":
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    else:
        private = ec.generate_private_key(ec.SECP256R1())
    return SigningKey(f"{algorithm.lower()}-{uuid.uuid4().hex[:8]}", algorithm, private)


class LocalIssuer:
    """Start it (or use it as a context manager), then ask it for tokens. Thread-safe but for `rotate`."""

    def __init__(self, *, audience: str = "config-server", host: str = "127.0.0.1", port: int = 0) -> None:
        """`port` 0 takes any free one."""
        self.audience = audience
        self.fetches: Counter[str] = Counter()  # path -> requests that arrived
        self._current = {algorithm: new_key(algorithm) for algorithm in ("RS256", "ES256")}
        self._published = [key.jwk for key in self._current.values()]
        self._mode = Mode.SERVE
        self._mode_changed = threading.Condition()  # guards _mode and fetches
        self._server = _Server((host, port), _Handler)
        self._server.issuer = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The issuer's name (`iss`), which is also where it listens."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    @property
    def jwks_url(self) -> str:
        return self.url + JWKS_PATH

    @property
    def jwks_fetches(self) -> int:
        with self._mode_changed:
            return self.fetches[JWKS_PATH]

    def key(self, algorithm: str = "RS256") -> SigningKey:
        """The key that signs now."""
        return self._current[algorithm]

    @property
    def jwks(self) -> dict[str, Any]:
        return {"keys": list(self._published)}

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        with self._mode_changed:
            self._mode = mode
            self._mode_changed.notify_all()

    # --- what it does -----------------------------------------------------------------------------------------------

    def token(
        self,
        sub: str = "tester",
        scope: str = "",
        service: str | None = None,
        *,
        algorithm: str = "RS256",
        lifetime: float = 3600,
        headers: dict[str, Any] | None = None,
        key: SigningKey | None = None,
        **claims: Any,
    ) -> str:
        """A signed token. `claims` are added, replace what is there, and remove it when None; likewise `headers`."""
        now = int(time.time())
        payload: dict[str, Any] = {
            "iss": self.url,
            "aud": self.audience,
            "sub": sub,
            "iat": now,
            "nbf": now,
            "exp": now + int(lifetime),
            "jti": uuid.uuid4().hex,
            "scope": scope or None,
            "service": service,
            **claims,
        }
        signer = key or self._current[algorithm]
        header = {"kid": signer.kid, **(headers or {})}
        return jwt.encode(
            {name: value for name, value in payload.items() if value is not None},
            signer.private,
            algorithm=signer.algorithm,
            headers={name: value for name, value in header.items() if value is not None},
        )

    def rotate(self, *, keep_old: bool = False) -> None:
        """Sign with new keys from now on; publish the former ones too only with `keep_old`."""
        self._current = {algorithm: new_key(algorithm) for algorithm in self._current}
        self._published = [key.jwk for key in self._current.values()] + (self._published if keep_old else [])

    def publish(self, keys: list[dict[str, Any]]) -> None:
        """Publish exactly these JWKs, whatever signs."""
        self._published = keys

    def start(self) -> Self:
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop listening; requests that hang are let go."""
        self.mode = Mode.FAIL
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=30)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- for its handler --------------------------------------------------------------------------------------------

    def arrived(self, path: str) -> Mode:
        """Count a request, and hold it while the mode is HANG."""
        with self._mode_changed:
            self.fetches[path] += 1
            self._mode_changed.wait_for(lambda: self._mode is not Mode.HANG)
            return self._mode

    def document(self, path: str) -> dict[str, Any] | None:
        documents = {JWKS_PATH: self.jwks, DISCOVERY_PATH: {"issuer": self.url, "jwks_uri": self.jwks_url}}
        return documents.get(path)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    issuer: LocalIssuer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        issuer = cast(_Server, self.server).issuer
        mode = issuer.arrived(self.path)
        document = issuer.document(self.path)
        if mode is Mode.REDIRECT:
            self._answer(HTTPStatus.FOUND, b"", location=f"/elsewhere{self.path}")
        elif mode is Mode.FAIL:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"{}")
        elif document is None:
            self._answer(HTTPStatus.NOT_FOUND, b"{}")
        else:
            self._answer(HTTPStatus.OK, json.dumps(document).encode())

    def _answer(self, status: HTTPStatus, body: bytes, **headers: str) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:
            pass  # whoever asked has given up meanwhile

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the tests' output is for the tests."""
