"""Fetching from a provider that is slow, large, or leads elsewhere."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.access.fetch import checked_url, discovery_url, fetch_document, jwks_url_in
from devstack.issuer import LocalIssuer, Mode


def test_a_document_is_fetched_whole(issuer: LocalIssuer) -> None:
    assert json.loads(fetch_document(issuer.jwks_url)) == issuer.jwks


def test_a_redirect_is_not_followed(own_issuer: LocalIssuer) -> None:
    own_issuer.mode = Mode.REDIRECT

    with pytest.raises(ValueError, match="302"):
        fetch_document(own_issuer.jwks_url)

    assert sum(own_issuer.fetches.values()) == 1


def test_an_error_is_no_document(own_issuer: LocalIssuer) -> None:
    own_issuer.mode = Mode.FAIL

    with pytest.raises(ValueError, match="500"):
        fetch_document(own_issuer.jwks_url)


def test_a_document_larger_than_256_kib_is_refused(own_issuer: LocalIssuer) -> None:
    own_issuer.publish([{"kid": "x" * 300_000}])

    with pytest.raises(ValueError, match="larger"):
        fetch_document(own_issuer.jwks_url)


def test_nobody_listening_is_an_os_error() -> None:
    with LocalIssuer() as gone:
        url = gone.jwks_url

    with pytest.raises(OSError, match=r"."):
        fetch_document(url)


@contextmanager
def dripping() -> Iterator[str]:
    """A server that sends a byte every few milliseconds, for ever."""
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            while not done.wait(0.02):
                try:
                    self.wfile.write(b" ")
                except ConnectionError:
                    return

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        done.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_provider_that_drips_does_not_hold_the_fetch() -> None:
    with dripping() as url:
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            fetch_document(url, deadline_seconds=0.2)
        assert time.monotonic() - begun < 20  # and not for ever


@pytest.mark.parametrize("url", ["", "issuer", "ftp://a/b", "file:///etc/passwd", "https://", "//host/x"])
def test_only_http_is_fetched(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        checked_url(url)


@pytest.mark.parametrize("issuer_name", ["https://issuer.example/realm", "https://issuer.example/realm/"])
def test_the_discovery_document_lies_below_the_issuer(issuer_name: str) -> None:
    assert discovery_url(issuer_name) == "https://issuer.example/realm/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"issuer": "https://other", "jwks_uri": "https://a/keys"}, "another issuer"),
        ({"issuer": "https://a/", "jwks_uri": "https://a/keys"}, "another issuer"),
        ({"jwks_uri": "https://a/keys"}, "another issuer"),
        ({"issuer": "https://a"}, "https"),
        ({"issuer": "https://a", "jwks_uri": 7}, "https"),
        ({"issuer": "https://a", "jwks_uri": "http://a/keys"}, "away from https"),
        ({"issuer": "https://a", "jwks_uri": "file:///keys"}, "https"),
        (["https://a"], "another issuer"),
    ],
)
def test_a_discovery_document_must_be_the_issuers_own(document: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        jwks_url_in(json.dumps(document).encode(), "https://a")


def test_the_key_set_is_where_the_issuer_says() -> None:
    document = json.dumps({"issuer": "https://a", "jwks_uri": "https://keys.a/set"}).encode()

    assert jwks_url_in(document, "https://a") == "https://keys.a/set"
