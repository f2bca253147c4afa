"""Scopes that almost match: what is not exactly a permission for what is asked gives nothing, at a running server."""

from __future__ import annotations

import pytest

from tests.blueprints.conftest import Shop

ALMOST = [
    "xconfig:read:*/*",
    "config:readwrite:*/*",
    "CONFIG:READ:*/*",
    "config:read:**",
    "config:read:sho?/prod",
    "config:read:[a-z]*/prod",
    "config:read:{shop,other}/prod",
    "config:read:.*/.*",
    "config:read:sho/prod",
    "config:read:hop/prod",
    "config:read:*-shop/prod",
    "config:read:shop-*/prod",
    "config:read:shop/pro",
    "config:read:shop/prod/x",
    "config:read:shop/prod,staging",
    "config:read:shop:prod",
    "config:read:/prod",
    "config:*:shop/prod",
    "config:audit config:encrypt config:decrypt",
    "*",
]


@pytest.mark.parametrize("scope", ALMOST)
def test_a_scope_that_almost_matches_is_403(shop: Shop, scope: str) -> None:
    for permissions in ({"scope": scope}, {"permissions": [scope]}, {"roles": [scope, f" {scope}", f"{scope}\n"]}):
        answer = shop.serving.get("shop/prod", token=shop.serving.issuer.token(**permissions))
        assert answer.status_code == 403, permissions


@pytest.mark.parametrize("scope", ["config:read:shop/prod", "config:read:s*p/pr*", "config:read:*/*"])
def test_one_that_matches_is_a_grant(shop: Shop, scope: str) -> None:
    assert shop.serving.get("shop/prod", token=shop.serving.token(scope)).status_code == 200
