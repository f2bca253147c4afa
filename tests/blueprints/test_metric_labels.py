"""Names come from outside, and a series costs memory for ever: whatever is asked for, there are no more of them."""

from __future__ import annotations

from tests.blueprints.conftest import Shop
from tests.serving import EVERYTHING


def series(shop: Shop) -> set[str]:
    """The names and labels of everything that is measured."""
    text = shop.serving.ask("/metrics", token=shop.serving.token(EVERYTHING)).text
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


def ask_as(shop: Shop, name: str) -> None:
    """Requests of every kind that a name gets into."""
    for path in (f"/v1/config/{name}/prod", f"/v1/config/shop/{name}", f"/v1/history/{name}/prod", f"/{name}"):
        shop.serving.ask(path)
    shop.serving.ask("/v1/config/shop/prod", params={"label": name})
    shop.serving.ask("/v1/config/shop/prod", method=name.upper())
    shop.serving.ask("/v1/acks", method="POST", json={"topic": f"{name}/prod/main"})


def test_many_names_make_no_series(shop: Shop) -> None:
    for number in range(2):
        ask_as(shop, f"first{number}")
        series(shop)  # which is measured too
    before = series(shop)
    for number in range(25):
        ask_as(shop, f"name{number}")
    assert series(shop) == before
