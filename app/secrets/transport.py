"""How we speak to Vault: an hvac client that follows no redirect, waits for a bounded time and trusts no answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import hvac
import requests
import urllib3.exceptions
from hvac.adapters import RawAdapter
from requests.adapters import HTTPAdapter

from app.errors import ConfigServerError, SecretsUnavailable

_MAX_BODY = 4 * 1024 * 1024  # bytes; Vault itself takes no document above 1 MiB by default
_CHUNK = 64 * 1024
_POOL = 16


class VaultRefused(ConfigServerError):
    """Vault itself said 400, 403 or 404. Stays inside this folder."""

    def __init__(self, status: int) -> None:
        super().__init__(f"Vault answered {status}")
        self.status = status


class VaultErred(SecretsUnavailable):
    """Vault itself said 500. Apart from silence, as a token past its maximum TTL is refused renewal in this way."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where Vault is and how long we wait.

    `address` is its URL; `ca_file` a PEM bundle instead of the system's; `timeouts` the seconds for connecting and
    for each wait for bytes. A body must be there within twice their sum. Raises ValueError for an address that is none.
    """

    address: str
    namespace: str | None = None
    ca_file: str | None = None
    timeouts: tuple[float, float] = (1.0, 2.0)

    def __post_init__(self) -> None:
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the address of Vault is not a URL with http:// or https:// and a host")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("the address of Vault holds a user, a query or a fragment")

    def session(self) -> requests.Session:
        """A connection pool for this endpoint, to be shared by all its clients. Thread-safe as we use it."""
        session = requests.Session()
        # Proxies, .netrc and CA bundles of the environment would see or replace what we send: settings alone decide.
        session.trust_env = False
        session.verify = self.ca_file or True
        session.headers["Accept-Encoding"] = "identity"
        bounded = _BoundedAdapter(seconds=2 * sum(self.timeouts))
        session.mount("https://", bounded)
        session.mount("http://", bounded)
        return session

    def client(self, session: requests.Session, token: str) -> hvac.Client:
        """An hvac client bound to one token for good. An empty token is none (None would take ~/.vault-token)."""
        return hvac.Client(
            url=self.address,
            token=token,
            namespace=self.namespace,
            session=session,
            verify=session.verify,
            timeout=self.timeouts,
            allow_redirects=False,
            adapter=_StrictAdapter,
        )


class _BoundedAdapter(HTTPAdapter):
    """Reads each body at once, up to a number of bytes and seconds: the timeout of a socket bounds one wait only."""

    def __init__(self, *, seconds: float) -> None:
        super().__init__(pool_maxsize=_POOL, pool_block=True)
        self._seconds = seconds

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        deadline = time.monotonic() + self._seconds
        response = super().send(request, *args, **{**kwargs, "stream": True})
        response.raw = BytesIO(self._body(response.raw, deadline))
        return response

    @staticmethod
    def _body(raw: Any, deadline: float) -> bytes:
        body = bytearray()
        try:
            while chunk := raw.read1(_CHUNK, decode_content=False):
                body += chunk
                if len(body) > _MAX_BODY or time.monotonic() > deadline:
                    raise requests.Timeout("the answer is too long or too slow")
        except BaseException:
            raw.close()  # a half-read connection must not go back to the pool
            raise
        return bytes(body)


class _StrictAdapter(RawAdapter):  # type: ignore[misc] # hvac ships no type information
    """Answers a JSON object, or raises VaultRefused or SecretsUnavailable: hvac would pass redirects and HTML on."""

    def get_login_token(self, response: Mapping[str, Any]) -> Any:
        return response["auth"]["client_token"]

    def request(self, method: str, url: str, **kwargs: Any) -> dict[str, Any]:
        # `from None`: the texts of the original errors hold Vault's paths, and would be logged with ours.
        try:
            response = super().request(method, url, **{**kwargs, "raise_exception": False})
        except requests.Timeout:
            raise SecretsUnavailable("Vault did not answer in time") from None
        except requests.exceptions.SSLError:
            raise SecretsUnavailable("TLS to Vault fails") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError):
            raise SecretsUnavailable("Vault cannot be reached") from None
        return _answer(response)


def _answer(response: requests.Response) -> dict[str, Any]:
    status = response.status_code
    try:
        body = response.json()
    except (ValueError, RecursionError):
        body = None
    if status == 204:
        return {}
    if status == 200 and isinstance(body, dict):
        return body
    # An ingress or a proxy says 403 and 404 too; only Vault's own word may take a secret away.
    if isinstance(body, dict) and (isinstance(body.get("errors"), list) or "data" in body):
        if status in (400, 403, 404):
            raise VaultRefused(status)
        if status == 500:
            raise VaultErred(_UNAVAILABLE[status])
    raise SecretsUnavailable(_UNAVAILABLE.get(status, "the answer is not one of Vault's"))


_UNAVAILABLE = {
    429: "Vault is limiting our requests",
    500: "Vault has an internal error",
    502: "Vault cannot be reached through its proxy",
    503: "Vault is sealed or in maintenance",
    504: "Vault cannot be reached through its proxy",
}
