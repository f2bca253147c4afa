"""Every forgery that a header can carry, shown to a running server: 401, and nothing is fetched for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from devstack.issuer import LocalIssuer
from tests.access.test_forgeries import FORGERIES
from tests.serving import BRISK, EVERYTHING, Serving, serving

#: What a header may hold here, in characters.
LINE = 60_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Its provider is its own, and the limit of failed attempts does not help it. However long the tests take, an
    unknown key id makes it look for new keys once at most."""
    directory = tmp_path_factory.mktemp("forged")
    timings = replace(BRISK, keys_refresh=3600.0, keys_min_interval=3600.0)
    with (
        LocalIssuer() as provider,
        serving(directory, provider, {"pay.yml": "a: 1\n"}, auth_failures_per_minute=0, timings=timings) as running,
    ):
        yield running


def shown(site: Serving, token: str) -> httpx.Response:
    return site.ask("/v1/config/pay/prod", token="", headers={"Authorization": f"Bearer {token}"})


def is_refused(answer: httpx.Response, token: str) -> bool:
    """With a challenge, and without a word of the token."""
    quoted = any(len(part) > 20 and part in answer.text for part in token.split("."))
    challenge = answer.headers.get("WWW-Authenticate")
    return (answer.status_code, challenge, quoted) == (
        401,
        'Bearer realm="config-server", error="invalid_token"',
        False,
    )


def test_a_forged_token_is_401_and_nothing_is_fetched_for_it(site: Serving) -> None:
    """But for the key set, once: an unknown key id may be a new one."""
    assert shown(site, site.token(EVERYTHING)).status_code == 200
    fetched = sum(site.issuer.fetches.values())
    taken, fitting = [], 0
    for number, (forge, _) in enumerate(FORGERIES):
        token = forge(site.issuer)  # just before it is shown: some are wrong by their times alone
        if 0 < len(token) < LINE and token.isascii() and token.isprintable():
            fitting += 1
            taken += [] if is_refused(shown(site, token), token) else [number]
    assert fitting > 100
    assert taken == []
    assert sum(site.issuer.fetches.values()) - fetched <= 1


@pytest.mark.parametrize("header", ["jku", "x5u"])
def test_a_token_that_names_its_own_judge_sends_nobody_there(site: Serving, header: str) -> None:
    with LocalIssuer() as stranger:
        headers = {header: stranger.jwks_url, "jwk": stranger.key().jwk}
        for issuer in (site.issuer.url, stranger.url):
            token = stranger.token(scope=EVERYTHING, iss=issuer, headers=headers)
            assert is_refused(shown(site, token), token)
        assert sum(stranger.fetches.values()) == 0
