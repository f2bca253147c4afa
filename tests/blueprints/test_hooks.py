"""POST /hooks/git: a signed word, and nothing else counts."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from devstack.issuer import LocalIssuer
from tests.blueprints.conftest import Shop
from tests.serving import serving
from tests.support import eventually

SECRET = b"hook-secret"
BODY = b'{"ref":"refs/heads/main"}'
HMAC = hmac.new(SECRET, BODY, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Hub-Signature-256": f"sha256={HMAC}"},
        {"X-Hub-Signature": f"sha256={HMAC}"},
        {"X-Gitea-Signature": HMAC},
        {"X-Gogs-Signature": HMAC},
        {"X-Gitlab-Token": SECRET.decode()},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_a_signed_word_is_taken(shop: Shop, headers: dict[str, str]) -> None:
    answer = shop.serving.ask("/hooks/git", method="POST", token="", content=BODY, headers=headers)
    assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature-256": "sha256=" + "0" * 64},
        {"X-Hub-Signature-256": f"sha1={HMAC}"},
        {"X-Hub-Signature-256": HMAC[:-1]},
        {"X-Hub-Signature-256": "sha256=\u00e9".encode()},
        {"X-Gitlab-Token": "wrong"},
        {"X-Gitlab-Token": ""},
    ],
)
def test_any_other_is_401(shop: Shop, headers: dict[str, str]) -> None:
    assert shop.serving.ask("/hooks/git", method="POST", token="", content=BODY, headers=headers).status_code == 401


def test_a_body_over_a_mebibyte_is_413(shop: Shop) -> None:
    answer = shop.serving.ask("/hooks/git", method="POST", token="", content=b"x" * ((1 << 20) + 1))
    assert answer.status_code == 413


def test_without_a_secret_there_are_no_webhooks(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: 1\n"}) as running:
        answer = running.ask("/hooks/git", method="POST", token="", content=BODY)
        assert answer.status_code == 404


def test_a_push_is_fetched_after_the_word(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: 1\n"}, webhook_secret=SECRET.decode()) as running:
        commit = running.origin.write({"pay.yml": "n: 2\n"})
        running.ask("/hooks/git", method="POST", token="", content=BODY, headers={"X-Gitlab-Token": SECRET.decode()})
        eventually(lambda: running.body("pay/prod")["version"] == commit)
