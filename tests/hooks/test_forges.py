"""What forges say and how they prove it, as values."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from app.hooks import Announced, Word, is_push, is_signed, word
from app.hooks.forges import MAX_ANNOUNCED
from app.notices.signing import key_of
from tests.hooks.forges import FORGES, SECRET, TOKEN, form, github, gitlab_signed, payload

BEFORE, AFTER = "b" * 40, "a" * 40


def lowered(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def signed(headers: dict[str, str], body: bytes, secret: str = SECRET, now: float | None = None) -> bool:
    key = secret.encode()
    return is_signed(key, key_of(key), lowered(headers), body, now=time.time() if now is None else now)


@pytest.mark.parametrize("forge", FORGES)
def test_each_forge_is_understood_and_believed(forge: str) -> None:
    name, sign = FORGES[forge]
    body = payload(name, before=BEFORE, after=AFTER)
    headers = sign(body)
    assert signed(headers, body)
    assert is_push(lowered(headers))
    assert word("application/json", body) == Word((Announced("main", AFTER),), is_dated=True)


@pytest.mark.parametrize("forge", [name for name in FORGES if not name.startswith("gitlab")])
def test_a_signature_is_over_the_bytes_as_they_were_sent(forge: str) -> None:
    name, sign = FORGES[forge]
    body = payload(name, before=BEFORE, after=AFTER)
    same = json.dumps(json.loads(body)).encode()  # the same document, other bytes
    assert not signed(sign(body), same)
    assert not signed(sign(body), body + b"\n")
    assert not signed(sign(body), body, secret="another")


def test_a_github_form_is_signed_as_it_is_sent_and_understood() -> None:
    body = form(payload("github", before=BEFORE, after=AFTER))
    assert signed(github(body), body)
    found = word("application/x-www-form-urlencoded; charset=utf-8", body)
    assert found == Word((Announced("main", AFTER),), is_dated=True)


def test_a_signing_token_is_good_for_five_minutes() -> None:
    body = payload("gitlab", before=BEFORE, after=AFTER)
    now = time.time()
    headers = gitlab_signed(body, at=now)
    assert signed(headers, body, TOKEN, now)
    assert signed(headers, body, TOKEN, now + 290)
    assert not signed(headers, body, TOKEN, now + 310)
    assert not signed(headers, body, TOKEN, now - 310)
    later = {**headers, "webhook-timestamp": str(int(now) + 60)}
    assert not signed(later, body, TOKEN, now + 60)
    assert not signed({**headers, "webhook-id": "word-2"}, body, TOKEN, now)
    assert not signed(headers, body + b" ", TOKEN, now)


@pytest.mark.parametrize("timestamp", ["", "x", "-1", "1e9", "9" * 30, "１２３"])
def test_a_time_that_is_none_is_no_proof(timestamp: str) -> None:
    body = b"{}"
    assert not signed({**gitlab_signed(body), "webhook-timestamp": timestamp}, body, TOKEN)


def test_a_sha1_signature_alone_is_no_proof() -> None:
    body = b"{}"
    assert not signed({"X-Hub-Signature": github(body)["X-Hub-Signature"]}, body)


@pytest.mark.parametrize(
    ("header", "event"),
    [
        ("X-GitHub-Event", "ping"),
        ("X-GitHub-Event", "issues"),
        ("X-Gitea-Event", "pull_request"),
        ("X-Gogs-Event", "fork"),
        ("X-Gitlab-Event", "Note Hook"),
        ("X-Event-Key", "diagnostics:ping"),
        ("X-Event-Key", "pullrequest:created"),
    ],
)
def test_what_is_no_push_is_told_apart(header: str, event: str) -> None:
    assert not is_push({header.lower(): event})


def test_a_word_without_an_event_may_be_a_push() -> None:
    assert is_push({"user-agent": "curl/8"})


@pytest.mark.parametrize(
    "said",
    [
        [],
        "refs/heads/main",
        {"ref": "refs/tags/v1", "after": AFTER},
        {"ref": "refs/heads/main", "after": "0" * 40},
        {"ref": "refs/heads/main", "after": "--upload-pack=x"},
        {"ref": "refs/heads/main", "after": AFTER.upper()},
        {"ref": "refs/heads/--output=x..y", "after": AFTER},
        {"ref": "refs/heads/a\nb", "after": AFTER},
        {"ref": ["refs/heads/main"], "after": {"x": 1}},
        {"changes": [1, None, {"ref": {"id": 7}, "toHash": None}]},
        {"changes": {"ref": "x"}},
        {"push": {"changes": [{"new": {"type": "branch", "name": "main", "target": None}}]}},
        {"push": []},
    ],
)
def test_nonsense_announces_nothing(said: Any) -> None:
    assert word("application/json", json.dumps(said).encode()).announced == ()


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"payload=%7B"])
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", ""])
def test_what_is_no_document_announces_nothing(body: bytes, kind: str) -> None:
    assert word(kind, body) == Word()


def test_what_one_word_announces_is_bounded() -> None:
    changes = [{"ref": f"refs/heads/b{number}", "after": AFTER} for number in range(5000)]
    assert len(word("", json.dumps({"changes": changes}).encode()).announced) == MAX_ANNOUNCED


def test_a_script_that_says_the_same_each_time_speaks_of_no_one_push() -> None:
    assert not word("", b'{"ref":"refs/heads/main"}').is_dated
    assert word("", json.dumps({"ref": "refs/heads/main", "after": AFTER}).encode()).is_dated


def test_a_secret_that_is_no_base64_is_refused() -> None:
    assert key_of(b"plain") == b"plain"
    assert key_of(b"whsec_" + base64.b64encode(b"key")) == b"key"
    with pytest.raises(ValueError, match="base64"):
        key_of(b"whsec_???")
