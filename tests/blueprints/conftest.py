"""A server for tests that only read: a few commits, two branches, two tags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from devstack.issuer import LocalIssuer
from tests.serving import Serving, serving

SHOP_YML = """\
db:
  pool: 5
  url: postgres://${db.host:localhost}/shop
hosts: [a, b]
greeting: hällo
"""
FILES: dict[str, str | bytes | None] = {
    "application.yml": "log: info\nlimits:\n  low: 1\n  high: 9\n",
    "shop.yml": SHOP_YML,
    "shop-prod.properties": "db.pool=9\n",
    "shop-eu.yml": "db: {pool: 11}\nregion: eu\n",
    "logback.xml": "<level>${log}</level><pool>${db.pool}</pool>${nope:fallback}${unknown}\n",
    "other.yml": "password-hint: nothing for shop\n",
    "other-prod.yml": "x: 1\n",
    "data/blob.bin": b"\x00\xff${log}\n",
    ".hidden/secret.txt": "hidden\n",
    ".hidden.txt": "hidden\n",
    "data/.hidden.txt": "hidden\n",
    "nested/other.yml": "x: 1\n",
}


@dataclass(frozen=True)
class Commits:
    """The commits of the shop's origin: `first` (tag v1), `head` of main (annotated tag r1), `feature` of feature/x."""

    first: str
    head: str
    feature: str


@dataclass
class Shop:
    serving: Serving
    commits: Commits


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Shop]:
    settings: dict[str, Any] = {"webhook_secret": "hook-secret", "allowed_origins": ("https://ok.example",)}
    settings["auth_failures_per_minute"] = 0  # many tests try bad tokens, from one address
    with serving(tmp_path_factory.mktemp("shop"), issuer, {"shop.yml": "db: {pool: 1}\n"}, **settings) as running:
        origin = running.origin
        first = origin.head
        origin.tag("v1")
        head = origin.write(FILES, "second")
        origin.tag("r1", message="a release")
        origin.branch("feature/x")
        feature = origin.write({"shop.yml": "db: {pool: 77}\n"}, "on a branch")
        origin.branch("main")
        (origin.work / "link.txt").symlink_to("shop.yml")
        head = origin.write({}, "a link")
        assert running.refresh().status_code == 200
        yield Shop(running, Commits(first, head, feature))
