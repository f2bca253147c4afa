"""What is read from further repositories over /v1: which one answers, what it says, and what a push to it does."""

from __future__ import annotations

from tests.further.conftest import Estate
from tests.support import eventually


def test_a_service_is_read_from_the_repository_that_its_name_matches_and_others_from_the_main_one(
    estate: Estate,
) -> None:
    serving = estate.serving
    body = serving.body("pay/prod", explain="true")
    assert body["config"] == {"n": 2, "file": "payments", "log": "payments"}
    assert (body["label"], body["version"]) == ("main", estate.origins["payments"].head)
    assert body["explain"]["n"]["origin"] == "payments:pay-prod.yml:1:4"
    assert serving.config("payroll/dev") == {"n": 3, "log": "payments"}
    assert serving.config("shop/prod") == {"n": 1, "log": "main", "only": "main"}
    assert serving.body("shop/prod")["version"] == serving.origin.head
