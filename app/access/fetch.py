"""Fetching small JSON documents from an identity provider: bounded in time and size, never redirected."""

from __future__ import annotations

import json
import time
from pathlib import Path
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

MAX_BYTES = 256 * 1024
TIMEOUT_SECONDS = 2.0


def checked_url(url: str) -> str:
    """`url`, if it is one of HTTP. Raises ValueError.

    Plain http is let through, for a provider on loopback or behind a mesh that encrypts; whoever can write to that
    connection can forge tokens, so anywhere else the operator must say https.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("must be an http or https URL")
    return url


def fetch_document(
    url: str, *, deadline_seconds: float = 5.0, ca_file: Path | None = None, token_file: Path | None = None
) -> bytes:
    """The body of a 200 answer to GET, over TLS verified by `ca_file` and logged in with the token in `token_file`.

    Waits at most 2 s to connect and between two pieces, `deadline_seconds` for the body. Raises OSError (which the
    errors of requests are) when there is no good answer in that time, ValueError when the answer is not usable: a
    redirect, another status, more than 256 KiB. Proxies and CA bundles come from the environment, as requests does it.
    """
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    deadline = time.monotonic() + deadline_seconds
    with requests.get(
        url,
        headers=headers,
        auth=_Bearer(token_file.read_text().strip()) if token_file else None,
        verify=str(ca_file) if ca_file else None,
        timeout=TIMEOUT_SECONDS,
        allow_redirects=False,
        stream=True,
    ) as answer:
        if answer.status_code != 200:
            raise ValueError(f"the provider answered {answer.status_code}")
        return _read(answer, deadline)


class _Bearer(requests.auth.AuthBase):
    """Said as `auth`, a login of ~/.netrc does not take its place."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _read(answer: requests.Response, deadline: float) -> bytes:
    """As it comes, undecoded: a compressed answer would be small here and large after."""
    body = bytearray()
    try:
        while piece := answer.raw.read1(MAX_BYTES, decode_content=False):
            body += piece
            if len(body) > MAX_BYTES:
                raise ValueError("the provider's answer is larger than 256 KiB")
            if time.monotonic() > deadline:
                raise TimeoutError("the provider's answer is too slow")
    except HTTPError as error:
        raise ConnectionError("the provider's answer broke off") from error
    return bytes(body)


def jwks_url_in(document: bytes, issuer: str) -> str:
    """The key set's URL in a discovery document (OpenID Connect Discovery 1.0, sections 3 and 4.3).

    Raises ValueError when the document is another issuer's, or leads from https to http.
    """
    try:
        metadata = json.loads(document)
    except RecursionError as error:
        raise ValueError("the discovery document is nested too deeply") from error
    if not isinstance(metadata, dict) or metadata.get("issuer") != issuer:
        raise ValueError("the discovery document is of another issuer")
    url = str(metadata.get("jwks_uri", ""))
    if urlsplit(issuer).scheme == "https" and urlsplit(url).scheme != "https":
        raise ValueError("the discovery document leads away from https")
    return checked_url(url)


def discovery_url(issuer: str) -> str:
    """Where the issuer's discovery document is (OpenID Connect Discovery 1.0, section 4)."""
    return checked_url(issuer.rstrip("/") + "/.well-known/openid-configuration")
