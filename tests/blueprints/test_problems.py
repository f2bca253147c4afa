"""What nobody foresaw: an answer of the usual shape, and the stack in the log only."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import errors
from app.blueprints import problems
from app.repository import BlobTooLarge, ObjectLost
from tests.blueprints.conftest import Shop


class TestFailingViews:
    """The error handlers on an application of their own, whose views raise."""

    @pytest.fixture
    def client(self) -> Iterator[FlaskClient]:
        app = Flask("app")
        problems.install(app)
        failures: dict[str, Exception] = {
            "unforeseen": RuntimeError("hunter2 in /var/lib/config-server"),
            "lost": ObjectLost("0" * 40),
            "large": BlobTooLarge(2, 1),
            "bare": errors.ConfigServerError("something of ours"),
            "later": errors.SecretsUnavailable("not now", retry_after=0.2),
            "much-later": errors.Overloaded("not now", retry_after=61.5),
        }

        @app.get("/<name>")
        def fail(name: str) -> str:
            raise failures[name]

        with app.test_client() as client:
            yield client

    def test_an_unforeseen_error_is_500_without_a_word_of_it(
        self, client: FlaskClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.ERROR):
            answer = client.get("/unforeseen")

        assert (answer.status_code, answer.mimetype) == (500, "application/problem+json")
        assert answer.get_json()["type"] == "urn:config-server:internal-error"
        assert "hunter2" not in answer.text
        assert "Traceback" not in answer.text
        assert any(record.exc_info for record in caplog.records)  # but it can be found

    @pytest.mark.parametrize(
        ("name", "status"), [("lost", 503), ("large", 422), ("bare", 500), ("later", 503), ("much-later", 503)]
    )
    def test_an_error_takes_the_status_of_its_nearest_ancestor(
        self, client: FlaskClient, name: str, status: int
    ) -> None:
        assert client.get(f"/{name}").status_code == status

    @pytest.mark.parametrize(("name", "seconds"), [("later", "1"), ("much-later", "62")])
    def test_retry_after_is_whole_seconds_and_never_none(self, client: FlaskClient, name: str, seconds: str) -> None:
        assert client.get(f"/{name}").headers["Retry-After"] == seconds


def test_who_sends_no_token_is_told_no_error_and_who_sends_a_bad_one_is(shop: Shop) -> None:
    without = shop.serving.ask("/v1/config/shop/prod", token="")
    bad = shop.serving.ask("/v1/config/shop/prod", token="a.b.c")

    assert without.headers["WWW-Authenticate"] == 'Bearer realm="config-server"'
    assert bad.headers["WWW-Authenticate"] == 'Bearer realm="config-server", error="invalid_token"'


@pytest.mark.parametrize(
    "token",
    [
        {"aud": "another"},
        {"iss": "https://elsewhere.example"},
        {"exp": 1},
        {"exp": None},
        {"exp": 99_999_999_999},
        {"nbf": 99_999_999_999},
        {"typ": "ID"},
        {"nonce": "n"},
        {"sub": 5},
        {"headers": {"kid": "nobody"}},
        {"headers": {"crit": ["x"]}},
    ],
    ids=str,
)
def test_a_token_that_is_not_for_us_is_401_and_fetches_nothing(shop: Shop, token: dict[str, Any]) -> None:
    fetched = shop.serving.issuer.jwks_fetches

    answer = shop.serving.ask("/v1/config/shop/prod", token=shop.serving.token(**token))

    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert shop.serving.issuer.jwks_fetches - fetched <= 1  # an unknown key id may wake the refresher, once in a while


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/config/shop/prod HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\n b: forged\r\nConnection: close\r\n\r\n",
        b"GET /%00%0d%0aX-Forged:%201 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /v1/config/\xff\xfe/prod HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /v1/config/shop/prod?label=%ff%fe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /v1/config/shop/prod HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
        b"GET http://evil.example/v1/config/shop/prod HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
def test_bytes_that_no_library_would_send_get_a_4xx_and_no_forged_header(shop: Shop, head: bytes) -> None:
    host, port = shop.serving.server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection, connection.makefile("rb") as answer:
        connection.sendall(head)
        status, *headers = answer.read().partition(b"\r\n\r\n")[0].split(b"\r\n")

    assert status.split()[1].startswith(b"4"), status
    assert not any(header.lower().startswith((b"x-forged", b"b:")) for header in headers)
