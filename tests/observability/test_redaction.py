"""What must not be in a log, and what must stay readable."""

from __future__ import annotations

import json
import time

import pytest

from app.observability.redaction import MAX_STRING, REDACTED, printable, redact, redact_text, secret_key, suspicious

JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJwYXkiLCJleHAiOjF9.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
OPENBAO_TOKEN = "s.u4KfW7bXqz0rJp2mNcVt8eLd"

LEAKS = [
    ("a token in a header", f"Authorization: Bearer {JWT}", JWT),
    ("a token alone", f"cannot verify {JWT}", JWT),
    ("a cut token", "eyJhbGciOiJSUzI1NiIsImtpZ", "eyJhbGciOiJSUzI1NiIsImtpZ"),
    ("an opaque bearer token", "Bearer 0123456789abcdef0123", "0123456789abcdef0123"),
    ("an opaque authorization", "authorization: zzz-very-private", "zzz-very-private"),
    ("an authorization in a dump", "{'Authorization': 'Ticket abcdefgh'}", "abcdefgh"),
    ("a Vault service token", "token is hvs.CAESIJ1234567890abcdef", "CAESIJ1234567890abcdef"),
    ("a Vault batch token", "hvb.AAAAAQJ1234567890", "AAAAAQJ1234567890"),
    ("an OpenBao token", f"login gave {OPENBAO_TOKEN}", OPENBAO_TOKEN),
    ("a password in a URL", "fetch https://git:hunter2@example.com/x.git failed", "hunter2"),
    ("a password with @ in a URL", "redis://:hun@ter2@cache:6379/0", "ter2"),
    ("a token as user of a URL", "https://ghp_0123456789@github.com/a/b", "ghp_0123456789"),
    ("a password in an encoded URL", "url=https%3A%2F%2Fgit:hunter2%40example.com", "hunter2"),
    ("a token in a query", "GET /v1/events?topic=a&token=hunter2&x=1", "hunter2"),
    ("a jwt in a query", "GET /x?jwt=hunter2", "hunter2"),
    ("an access token in a query", "GET /x?access_token=hunter2#frag", "hunter2"),
    ("a ticket in a query", "GET /v1/events?ticket=hunter2", "hunter2"),
    ("an encoded query", "?next=%2Fx%3Ftoken%3Dhunter2", "hunter2"),
    ("a ticket as subprotocol", "Sec-WebSocket-Protocol: cfg.v1, ticket.hunter2hunter2", "hunter2hunter2"),
    ("a secret_id in a dump", "{'role_id': 'a', 'secret_id': 'hunter2'}", "hunter2"),
    ("a password in JSON", '{"password": "hunter2"}', "hunter2"),
    ("a password setting", "CONFIG_SERVER_GIT_PASSWORD=hunter2", "hunter2"),
    ("a Vault header", "X-Vault-Token: hunter2", "hunter2"),
    ("a path in Vault", "permission denied, on get http://127.0.0.1:8200/v1/secret/data/pay/prod", "secret/data/pay"),
    ("a path in Vault alone", "Max retries exceeded with url: /v1/kv/data/pay (Caused by x)", "kv/data/pay"),
    ("a private key", "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----", "hunter2"),
    ("half a private key", "-----BEGIN PRIVATE KEY-----\nhunter2", "hunter2"),
]


@pytest.mark.parametrize(("what", "text", "secret"), LEAKS, ids=[leak[0] for leak in LEAKS])
def test_a_secret_is_taken_out_of_a_text(what: str, text: str, secret: str) -> None:
    assert secret not in redact_text(text)
    assert suspicious(json.dumps({"message": text})), "the quick look must not miss what the patterns find"


@pytest.mark.parametrize(("what", "text", "secret"), LEAKS, ids=[leak[0] for leak in LEAKS])
def test_redacting_twice_changes_nothing_more(what: str, text: str, secret: str) -> None:
    once = redact_text(text)
    assert redact_text(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "GET /v1/config/pay/prod 200",
        "fetched https://example.com/repo.git at 0123456789abcdef0123456789abcdef01234567",
        "payments/prod/main moved from 1.4 to 1.5",
        "the token has expired",
        "no ticket was given",
        "app.services.config.reader",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("authorization", True),
        ("Set-Cookie", True),
        ("x-vault-token", True),
        ("secret_id", True),
        ("db.password", True),
        ("accessToken", True),
        ("api_key", True),
        ("secret_path", False),
        ("token_type", False),
        ("topic", False),
        ("subject", False),
        ("keys", False),
    ],
)
def test_keys_that_smell_of_secrets_are_known(key: str, secret: bool) -> None:
    assert secret_key(key) is secret


def test_values_under_secret_keys_are_redacted_at_any_depth() -> None:
    event = {"outer": {"password": "hunter2", "list": [{"token": 12345}, f"x {JWT}"]}, "cookie": None}
    assert redact(event) == {
        "outer": {"password": REDACTED, "list": [{"token": REDACTED}, f"x {REDACTED}"]},
        "cookie": None,
    }


def test_objects_are_redacted_by_their_text() -> None:
    class Client:
        def __str__(self) -> str:
            return "Client(secret_id='hunter2')"

    assert redact({"client": Client(), "raw": b"password=hunter2"}) == {
        "client": f"Client(secret_id='{REDACTED}')",
        "raw": f"password={REDACTED}",
    }


def test_long_strings_and_deep_or_wide_values_are_cut() -> None:
    deep: dict[str, object] = {}
    for _ in range(100):
        deep = {"a": deep}
    out = json.dumps(redact({"long": "x" * 100_000, "deep": deep, "wide": list(range(100_000))}))
    assert len(out) < MAX_STRING + 1000


def test_hostile_megabytes_cost_milliseconds() -> None:
    hostile = [
        "a" * 1_000_000,
        "token=" * 200_000,
        "://" * 300_000,
        "eyJ" * 300_000,
        "password:" * 100_000,
        "s." * 500_000,
    ]

    def seconds(text: str) -> float:
        started = time.thread_time()  # of the processor: others may have it meanwhile
        redact_text(text)
        return time.thread_time() - started

    for text in hostile:
        assert any(seconds(text) < 1.0 for _ in range(3))


def test_invisible_characters_become_visible() -> None:
    assert printable("pay\u202eda\nta\x00\x7f\ud800") == "pay\\u202eda\\u000ata\\u0000\\u007f\\ud800"
    assert printable("größe/日本") == "größe/日本"


def test_names_are_cut_at_the_limit() -> None:
    assert printable("x" * 300) == "x" * 300
    assert printable("x" * 5000) == "x" * 300 + "…"
    assert len(printable("\n" * 5000)) == 301
