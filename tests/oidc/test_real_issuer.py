"""A server that trusts a real OpenID provider: found by discovery, followed when it rotates its keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import jwt
import pytest

from devstack.issuer import LocalIssuer
from tests.oidc.provider import OidcProvider, install
from tests.serving import BRISK, Serving, serving
from tests.support import eventually

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Site:
    serving: Serving
    provider: OidcProvider

    def status(self, token: str, coordinates: str = "pay/prod") -> int:
        return self.serving.get(coordinates, token=token).status_code


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Site]:
    install()
    directory = tmp_path_factory.mktemp("oidc")
    with closing(OidcProvider()) as provider:
        provider.start()
        trusted = {"jwt_issuer": provider.issuer, "jwt_jwks_url": None, "jwt_discovery": True}
        timings = replace(BRISK, keys_min_interval=0.3)
        with serving(
            directory,
            issuer,
            {"pay.yml": "n: 1\n"},
            timings=timings,
            service_claim="client_id",
            **trusted,  # type: ignore[arg-type]
        ) as running:
            yield Site(running, provider)


def test_its_access_tokens_are_taken_and_grant_what_their_scope_says(site: Site) -> None:
    token = site.provider.token("config:read:pay/prod")
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    assert site.status(token) == 200
    assert site.status(token, "pay/dev") == 403
    assert site.status(site.provider.token("config:read"), "pay/dev") == 200, "the client's id names the service"
    assert site.status(site.provider.token("config:read"), "orders/dev") == 403


def test_keys_that_it_rotates_are_followed_and_those_that_it_forgets_are_forgotten(site: Site) -> None:
    former = site.provider.token("config:read:pay/prod")
    site.provider.rotate()
    fresh = site.provider.token("config:read:pay/prod")
    kids = {jwt.get_unverified_header(token)["kid"] for token in (former, fresh)}
    assert len(kids) == 2
    eventually(lambda: site.status(fresh) == 200)
    assert site.status(former) == 200, "it is still published"
    unseen = site.provider.token("config:read:pay/prod")
    forged_for = jwt.get_unverified_header(unseen)["kid"]
    site.provider.replace()  # in one step: the server may look at any time
    newest = site.provider.token("config:read:pay/prod")
    eventually(lambda: site.status(newest) == 200)
    assert jwt.get_unverified_header(newest)["kid"] != forged_for
    assert site.status(unseen) == 401, "signed by a key that its issuer has taken away"


def test_a_token_that_was_tampered_with_or_is_of_another_issuer_is_refused(site: Site) -> None:
    token = site.provider.token("config:read:pay/prod")
    head, claims, signature = token.split(".")
    assert site.status(f"{head}.{claims}.{signature[:-4]}AAAA") == 401
    assert site.status(site.serving.issuer.token(scope="config:read:pay/prod")) == 401
    assert site.status(site.serving.issuer.token(scope="config:read:pay/prod", iss=site.provider.issuer)) == 401
