"""What each forge sends after a push, and how it signs it, for the tests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlencode

SECRET = "hook-secret"
#: A signing token as GitLab makes them; a server has one secret, so those who use it have a server of their own.
TOKEN = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
_PAYLOADS = Path(__file__).parent / "payloads"

Headers = dict[str, str]


def payload(name: str, *, before: str, after: str) -> bytes:
    text = (_PAYLOADS / f"{name}.json").read_text()
    return text.replace("@BEFORE@", before).replace("@AFTER@", after).encode()


def form(body: bytes) -> bytes:
    """As GitHub sends it with the content type `application/x-www-form-urlencoded`."""
    return urlencode({"payload": body.decode()}).encode()


def hexed(body: bytes, secret: str = SECRET, digest: str = "sha256") -> str:
    return hmac.new(secret.encode(), body, digest).hexdigest()


def github(body: bytes) -> Headers:
    return {
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "X-Hub-Signature": f"sha1={hexed(body, digest='sha1')}",
        "X-Hub-Signature-256": f"sha256={hexed(body)}",
        "User-Agent": "GitHub-Hookshot/044aadd",
    }


def gitlab(_body: bytes) -> Headers:
    return {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": SECRET, "X-Gitlab-Event-UUID": "13792a34"}


def gitlab_system(_body: bytes) -> Headers:
    return {"X-Gitlab-Event": "System Hook", "X-Gitlab-Token": SECRET}


def gitlab_signed(body: bytes, *, at: float | None = None) -> Headers:
    key, now = base64.b64decode(TOKEN.removeprefix("whsec_")), str(int(time.time() if at is None else at))
    signed = hmac.digest(key, b"word-1." + now.encode() + b"." + body, hashlib.sha256)
    proof = f"v1,bm9uZQ== v1,{base64.b64encode(signed).decode()}"
    headers = {"webhook-id": "word-1", "webhook-timestamp": now, "webhook-signature": proof}
    return {"X-Gitlab-Event": "Push Hook", **headers}


def gitea(body: bytes) -> Headers:
    return {
        "X-Gitea-Event": "push",
        "X-Gogs-Event": "push",
        "X-GitHub-Event": "push",
        "X-Gitea-Signature": hexed(body),
        "X-Gogs-Signature": hexed(body),
        "X-Hub-Signature": f"sha1={hexed(body, digest='sha1')}",
        "X-Hub-Signature-256": f"sha256={hexed(body)}",
    }


def gogs(body: bytes) -> Headers:
    return {"X-Gogs-Event": "push", "X-Gogs-Signature": hexed(body), "X-Gogs-Delivery": "f6266f16"}


def bitbucket_cloud(body: bytes) -> Headers:
    return {"X-Event-Key": "repo:push", "X-Hook-UUID": "{9}", "X-Hub-Signature": f"sha256={hexed(body)}"}


def bitbucket_server(body: bytes) -> Headers:
    return {"X-Event-Key": "repo:refs_changed", "X-Request-Id": "c6d9", "X-Hub-Signature": f"sha256={hexed(body)}"}


#: forge -> (payload, how it signs)
FORGES: Mapping[str, tuple[str, Callable[[bytes], Headers]]] = {
    "github": ("github", github),
    "gitlab": ("gitlab", gitlab),
    "gitlab-system": ("gitlab-system", gitlab_system),
    "gitea": ("gitea", gitea),
    "gogs": ("gogs", gogs),
    "bitbucket-cloud": ("bitbucket-cloud", bitbucket_cloud),
    "bitbucket-server": ("bitbucket-server", bitbucket_server),
}
