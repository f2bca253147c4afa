"""Plain files beside the configuration."""

from __future__ import annotations

import pytest

from tests.blueprints.conftest import Shop
from tests.serving import VIEW_ALL


def test_a_text_is_filled_from_the_targets_values(shop: Shop) -> None:
    answer = shop.serving.get("shop/prod/logback.xml")

    assert answer.text == "<level>info</level><pool>9</pool>fallback${unknown}\n"
    assert answer.headers["Content-Type"].startswith("application/xml") or "xml" in answer.headers["Content-Type"]
    assert answer.headers["X-Config-Version"]
    assert answer.headers["Cache-Control"] == "no-store, private"


def test_bytes_come_as_they_are(shop: Shop) -> None:
    headers = {"Accept": "application/octet-stream"}
    assert shop.serving.get("shop/prod/data/blob.bin", headers=headers).content == b"\x00\xff${log}\n"
    assert shop.serving.get("shop/prod/logback.xml", headers=headers).text.startswith("<level>${log}</level>")
    assert shop.serving.get("shop/prod/data/blob.bin").status_code == 422


def test_it_is_sent_once(shop: Shop) -> None:
    first = shop.serving.get("shop/prod/logback.xml")
    again = shop.serving.get("shop/prod/logback.xml", headers={"If-None-Match": first.headers["ETag"]})
    other = shop.serving.get("shop/eu/logback.xml")

    assert (again.status_code, again.content) == (304, b"")
    assert other.headers["ETag"] != first.headers["ETag"]


@pytest.mark.parametrize(
    "path",
    [
        ".hidden.txt",
        ".hidden/secret.txt",
        "data/.hidden.txt",
        "other.yml",
        "other-prod.yml",
        "nested/other.yml",
        "shop-eu.yml",
        "link.txt",
        "nope.txt",
        "data",
        "data/",
        "%2e%2e/etc/passwd",
        "%252e%252e/etc/passwd",
        "..%2f..%2fetc/passwd",
        "data//blob.bin",
        ".git/config",
        "a%00b",
    ],
)
def test_what_is_not_the_targets_to_see_is_404(shop: Shop, path: str) -> None:
    assert shop.serving.ask(f"/v1/config/shop/prod/{path}").status_code in {400, 404}


def test_the_targets_own_configuration_files_are_files_too(shop: Shop) -> None:
    headers = {"Accept": "application/octet-stream"}
    assert shop.serving.get("shop/prod/shop-prod.properties", headers=headers).text == "db.pool=9\n"


def test_who_may_only_view_gets_it_too(shop: Shop) -> None:
    token = shop.serving.token(VIEW_ALL)
    assert shop.serving.get("shop/prod/logback.xml", token=token).status_code == 200


def test_an_unknown_query_is_400(shop: Shop) -> None:
    answer = shop.serving.get("shop/prod/logback.xml", nope="1")
    assert (answer.status_code, answer.json()["field"]) == (400, "nope")
