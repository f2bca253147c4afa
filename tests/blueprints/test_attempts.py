"""Who guesses is refused ever more shortly; who shows a good token from the same address never notices."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from app.blueprints.proxies import client_of
from devstack.issuer import LocalIssuer
from devstack.valkey import Valkey
from tests.serving import BRISK, Serving, serving
from tests.support import eventually

BAD = "not.a.token"
LIMIT = 5
#: Far longer than a read takes on a busy machine; and once it has failed, Redis is left alone.
REDIS_TIMEOUT = 2.5
REDIS_HANGS = replace(BRISK, redis=REDIS_TIMEOUT, redis_pause=60.0)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Serving]:
    """Behind a proxy at 127.0.0.1 that it trusts, so that each test has addresses of its own."""
    directory = tmp_path_factory.mktemp("attempts")
    settings: dict[str, Any] = {
        "trusted_proxies": (ip_network("127.0.0.1"), ip_network("10.0.0.0/8")),
        "auth_failures_per_minute": LIMIT,
        "webhook_secret": "hook",
    }
    with serving(directory, issuer, {"pay.yml": "a: 1\n"}, **settings) as running:
        yield running


def statuses(site: Serving, token: str, address: str, count: int) -> list[int]:
    headers = {"X-Forwarded-For": address}
    return [site.get("pay/prod", token=token, headers=headers).status_code for _ in range(count)]


def in_one_minute() -> None:
    """Wait for the next minute if this one is nearly over."""
    eventually(lambda: time.time() % 60 < 45, timeout=17)


def test_after_some_bad_tokens_more_are_429_and_good_ones_are_answered(site: Serving) -> None:
    in_one_minute()
    assert statuses(site, BAD, "192.0.2.1", LIMIT + 2) == [401] * LIMIT + [429] * 2
    assert statuses(site, site.token(), "192.0.2.1", 3) == [200] * 3
    answer = site.get("pay/prod", token=BAD, headers={"X-Forwarded-For": "192.0.2.1"})
    assert answer.json()["type"] == "urn:config-server:too-many-attempts"
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert statuses(site, BAD, "192.0.2.2", 1) == [401]


def test_who_shows_nothing_is_asked_to_log_in_however_often(site: Serving) -> None:
    assert statuses(site, "", "192.0.2.3", LIMIT * 3) == [401] * LIMIT * 3


def test_guesses_of_signatures_and_tickets_count_too(site: Serving) -> None:
    in_one_minute()

    def hook(signature: str) -> int:
        headers = {"X-Forwarded-For": "192.0.2.4", "X-Gitlab-Token": signature}
        return site.ask("/hooks/git", method="POST", token="", headers=headers).status_code

    def ticket() -> int:
        headers = {"X-Forwarded-For": "192.0.2.5", "Authorization": "Ticket guess"}
        return site.ask("/v1/events?topic=pay/prod", token="", headers=headers).status_code

    def spring() -> int:
        headers = {"X-Forwarded-For": "192.0.2.7", "X-Config-Token": BAD}
        return site.ask("/spring/pay/prod", token="", headers=headers).status_code

    assert [spring() for _ in range(LIMIT + 1)] == [401] * LIMIT + [429]
    assert [hook("guess") for _ in range(LIMIT + 1)] == [401] * LIMIT + [429]
    assert hook("hook") == 202
    assert [ticket() for _ in range(LIMIT + 1)] == [401] * LIMIT + [429]


def test_refused_attempts_are_on_record_by_address(site: Serving) -> None:
    in_one_minute()
    statuses(site, BAD, "192.0.2.6", LIMIT + 4)
    site.server.services.audit.flush_due(time.time() + 120)

    (line,) = eventually(lambda: [line for line in site.trail() if '"address":"192.0.2.6"' in line])
    assert f'"count":{LIMIT + 4}' in line


@pytest.mark.slow
def test_while_redis_is_away_bad_tokens_are_still_limited_and_good_ones_do_not_wait(
    tmp_path: Path, issuer: LocalIssuer
) -> None:
    key = tmp_path / "key"
    key.write_text("k" * 40)
    with closing(Valkey(tmp_path / "valkey").start()) as valkey:
        settings: dict[str, Any] = {"redis_url": valkey.url, "key_file": key, "auth_failures_per_minute": LIMIT}
        settings["timings"] = REDIS_HANGS
        with serving(tmp_path, issuer, {"pay.yml": "a: 1\n"}, **settings) as site:
            in_one_minute()
            valkey.pause()
            good = [seconds_of_a_read(site) for _ in range(9)]
            bad = [site.get("pay/prod", token=BAD).status_code for _ in range(LIMIT + 2)]
            assert bad == [401] * LIMIT + [429] * 2
            valkey.resume()
            assert median(good) < REDIS_TIMEOUT / 2, "good tokens waited for Redis"


def seconds_of_a_read(site: Serving) -> float:
    """Of a token that was never seen before."""
    token = site.token(sub=f"new at {time.monotonic()}")
    started = time.monotonic()
    assert site.get("pay/prod", token=token).status_code == 200
    return time.monotonic() - started


TRUSTED = (ip_network("127.0.0.1"), ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "named", "client"),
    [
        ("127.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("192.0.2.9", "192.0.2.7", "192.0.2.9"),
        ("127.0.0.1", "192.0.2.66, 192.0.2.7", "192.0.2.7"),
        ("127.0.0.1", "192.0.2.66, 192.0.2.7, 10.1.2.3", "192.0.2.7"),
        ("127.0.0.1", "10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", "192.0.2.7:4711", "192.0.2.7"),
        ("127.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("127.0.0.1", "2001:db8::7, fd00::1", "2001:db8::7"),
        ("::ffff:127.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("127.0.0.1", "nonsense", "127.0.0.1"),
        ("127.0.0.1", "192.0.2.7, unknown, 10.0.0.1", "10.0.0.1"),
        ("127.0.0.1", "192.0.2.7,", "127.0.0.1"),
        ("127.0.0.1", "x" * 8000, "127.0.0.1"),
        ("", "192.0.2.7", ""),
    ],
)
def test_whose_request_it_is(peer: str, named: str, client: str) -> None:
    assert client_of(peer, named, TRUSTED) == client


def test_a_stranger_names_no_address(tmp_path: Path, issuer: LocalIssuer) -> None:
    """From a peer that is not in the list: who guesses does not choose for whom it counts."""
    settings: dict[str, Any] = {"trusted_proxies": (ip_network("192.0.2.1"),), "auth_failures_per_minute": LIMIT}
    with serving(tmp_path, issuer, {"pay.yml": "a: 1\n"}, **settings) as site:
        in_one_minute()
        told = [statuses(site, BAD, f"192.0.2.{number}", 1)[0] for number in range(LIMIT + 1)]
        assert told == [401] * LIMIT + [429]
