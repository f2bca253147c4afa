"""A stampede on the identity provider, and one that hangs: a fetch at most for it, nothing at all for valid tokens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devstack.issuer import LocalIssuer, Mode
from tests.serving import BRISK, READ_ALL, Serving, serving
from tests.support import eventually

#: What an answer to a valid token may take; a wait for the provider takes two seconds, until it is given up.
SOON = 1.0
#: Seconds between two fetches for unknown key ids.
INTERVAL = 1.0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Serving]:
    """Its provider is its own; the limit of failed attempts does not help it."""
    options: dict[str, Any] = {"auth_failures_per_minute": 0, "timings": replace(BRISK, keys_min_interval=INTERVAL)}
    with LocalIssuer() as provider, serving(tmp_path, provider, {"pay.yml": "a: 1\n"}, **options) as running:
        yield running


def unknown_keys(site: Serving, count: int) -> list[int]:
    """The answers to so many tokens at once, each signed by a key of an id that nobody knows."""
    tokens = [site.issuer.token(scope=READ_ALL, headers={"kid": f"unknown-{number}"}) for number in range(count)]
    with ThreadPoolExecutor(10) as crowd:
        return list(crowd.map(lambda token: site.get("pay/prod", token=token).status_code, tokens))


def slowest_valid(site: Serving, count: int = 10) -> float:
    """Of so many tokens that were never seen before; each must be answered."""
    seconds = []
    for number in range(count):
        token = site.token(sub=f"new-{time.monotonic()}-{number}")
        started = time.monotonic()
        assert site.get("pay/prod", token=token).status_code == 200
        seconds.append(time.monotonic() - started)
    return max(seconds)


def disturb_nobody(site: Serving, count: int) -> bool:
    """Whether all valid tokens are answered soon beside so many unknown key ids; in the best of some tries, as the
    machine may be busy."""
    for _ in range(3):
        assert unknown_keys(site, count) == [401] * count
        if slowest_valid(site) < SOON:
            return True
    return False


def test_a_hundred_unknown_key_ids_cost_a_fetch_at_most_in_each_interval_and_disturb_nobody(site: Serving) -> None:
    began, before = time.monotonic(), site.issuer.jwks_fetches
    assert disturb_nobody(site, 100)
    assert unknown_keys(site, 100) == [401] * 100
    assert site.issuer.jwks_fetches - before <= 1 + (time.monotonic() - began) / INTERVAL


def test_a_provider_that_hangs_holds_up_nobody(site: Serving) -> None:
    before = site.issuer.jwks_fetches
    site.issuer.mode = Mode.HANG
    eventually(lambda: unknown_keys(site, 1) == [401] and site.issuer.jwks_fetches > before)
    assert disturb_nobody(site, 20)
    assert disturb_nobody(site, 80)
    assert site.ask("/health/ready", token="").status_code == 200
    site.issuer.mode = Mode.SERVE


def test_keys_that_rotate_are_taken_up_at_the_first_token_that_names_one(tmp_path: Path) -> None:
    timings = replace(BRISK, keys_min_interval=0.3)
    with LocalIssuer() as provider, serving(tmp_path, provider, {"pay.yml": "a: 1\n"}, timings=timings) as site:
        former = site.token(sub="with a former key")
        provider.rotate()
        assert eventually(lambda: site.get("pay/prod").status_code == 200)
        assert site.get("pay/prod", token=former).status_code == 401
