"""What the webhooks of Git forges say, and how they prove it. Pure: headers (in lower case), a body in, values out.

Sources: the documentation of GitHub, GitLab, Gitea (Forgejo), Gogs, Bitbucket Cloud and Bitbucket Data Center.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

from app.model import COMMIT, LABEL
from app.notices.signing import is_signature

#: Headers that carry an HMAC-SHA256 of the raw body in hex, with or without "sha256=" (GitHub, Bitbucket, Gitea, Gogs).
_SIGNATURES: Final = ("x-hub-signature-256", "x-hub-signature", "x-gitea-signature", "x-gogs-signature")
#: Headers that carry the secret itself (GitLab without a signing token, Gitee).
_TOKENS: Final = ("x-gitlab-token", "x-gitee-token")
#: Headers that name the event, and the events after which there is something to fetch. A word without any of them is
#: taken for a push: it may come from a script.
_EVENTS: Final[Mapping[str, frozenset[str]]] = {
    "x-github-event": frozenset({"push", "create", "delete"}),
    "x-gitea-event": frozenset({"push", "create", "delete"}),
    "x-gogs-event": frozenset({"push", "create", "delete"}),
    "x-gitlab-event": frozenset({"Push Hook", "Tag Push Hook", "System Hook"}),
    "x-event-key": frozenset({"repo:push", "repo:refs_changed", "mirror:repo_synchronized"}),
}
_NO_COMMIT: Final = "0" * 40
#: Branches that one word is believed to announce.
MAX_ANNOUNCED: Final = 50


@dataclass(frozen=True, slots=True)
class Announced:
    """A branch that is said to stand at a commit."""

    label: str
    commit: str


@dataclass(frozen=True, slots=True)
class Word:
    """What a body says: the branches that were moved, and where to. `is_dated`: it speaks of one push, and so it comes
    once; a script may say the same each time."""

    announced: tuple[Announced, ...] = ()
    is_dated: bool = False


def is_signed(secret: bytes, key: bytes, headers: Mapping[str, str], body: bytes, *, now: float) -> bool:
    """Whether a header proves knowledge of the secret. Compared in constant time, as bytes.

    `key` is what the secret stands for where it is a signing token (Standard Webhooks: GitLab); then the word must not
    be older than five minutes (`now` is Unix seconds) either.
    """
    expected = hmac.digest(secret, body, hashlib.sha256).hex().encode()
    for name in _SIGNATURES:
        signature = _bytes(headers, name).removeprefix(b"sha256=")
        if signature and hmac.compare_digest(signature, expected):
            return True
    if any(hmac.compare_digest(_bytes(headers, name), secret) for name in _TOKENS if headers.get(name)):
        return True
    given = headers.get("webhook-signature", "")
    identity, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    return bool(given) and is_signature(key, given, identity, timestamp, body, now=now)


def is_push(headers: Mapping[str, str]) -> bool:
    """Whether there may be something to fetch; not after a ping, an issue or a review."""
    named = [(name, value) for name in _EVENTS if (value := headers.get(name)) is not None]
    return not named or any(value in _EVENTS[name] for name, value in named)


def word(content_type: str, body: bytes) -> Word:
    """What is not understood announces nothing."""
    payload = _payload(content_type, body)
    found = dict.fromkeys(each for each in _announced(payload) if _is_possible(each))
    return Word(tuple(found)[:MAX_ANNOUNCED], not payload.keys().isdisjoint(("after", "changes", "push")))


def _payload(content_type: str, body: bytes) -> Mapping[str, Any]:
    try:
        if content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":  # GitHub, if asked to
            body = parse_qs(body.decode(), max_num_fields=10)["payload"][0].encode()
        found = json.loads(body)
    except (ValueError, KeyError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _announced(payload: Mapping[str, Any]) -> Iterator[Announced]:
    yield from _moved(payload.get("ref"), payload.get("after"))  # GitHub, GitLab, Gitea, Gogs
    for change in _tables(payload.get("changes")):
        yield from _moved(change.get("ref"), change.get("after"))  # GitLab's system hook
        ref = change.get("ref")
        if isinstance(ref, dict) and change.get("type") != "DELETE":  # Bitbucket Data Center
            yield from _moved(ref.get("id"), change.get("toHash"))
    push = payload.get("push")
    for change in _tables(push.get("changes") if isinstance(push, dict) else None):  # Bitbucket Cloud
        new = change.get("new")
        target = new.get("target") if isinstance(new, dict) else None
        if isinstance(new, dict) and isinstance(target, dict) and new.get("type") == "branch":
            yield Announced(str(new.get("name")), str(target.get("hash")))


def _moved(ref: object, commit: object) -> Iterator[Announced]:
    if isinstance(ref, str) and isinstance(commit, str) and ref.startswith("refs/heads/"):
        yield Announced(ref.removeprefix("refs/heads/"), commit)


def _tables(listed: object) -> list[dict[str, Any]]:
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _is_possible(each: Announced) -> bool:
    return bool(COMMIT.fullmatch(each.commit) and LABEL.fullmatch(each.label)) and each.commit != _NO_COMMIT


def _bytes(headers: Mapping[str, str], name: str) -> bytes:
    return headers.get(name, "").encode("utf-8", "surrogateescape")
