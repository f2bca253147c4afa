"""Every route is guarded, and every error has its answer."""

from __future__ import annotations

import inspect
import time

import pytest

from app import errors
from app.blueprints.guard import ROUTES, Need
from app.blueprints.problems import STATUS, status_of
from tests.blueprints.conftest import Shop
from tests.serving import READ_ALL, VIEW_ALL
from tests.support import eventually

#: A request that reaches each guarded endpoint.
REQUESTS = {
    "config.read": ("GET", "/v1/config/shop/prod"),
    "config.file": ("GET", "/v1/config/shop/prod/logback.xml"),
    "history.revisions": ("GET", "/v1/history/shop/prod"),
    "history.diff": ("GET", "/v1/diff/shop/prod?from=main"),
    "stream.events": ("GET", "/v1/events?topic=shop/prod"),
    "overview.status": ("GET", "/v1/admin/status"),
    "overview.problems": ("GET", "/v1/admin/problems"),
    "overview.instances": ("GET", "/v1/admin/instances"),
    "admin.refresh": ("POST", "/v1/admin/refresh"),
    "admin.revoke": ("POST", "/v1/admin/revocations"),
    "audit.records": ("GET", "/v1/admin/audit"),
    "hold.begin": ("POST", "/v1/admin/hold"),
    "hold.release": ("POST", "/v1/admin/hold/release"),
    "changes.plan": ("POST", "/v1/admin/plan"),
    "changes.change": ("POST", "/v1/admin/changes"),
    "changes.rollback": ("POST", "/v1/admin/rollback"),
    "changes.promote": ("POST", "/v1/admin/promote"),
    "tickets.issue": ("POST", "/v1/tickets"),
    "tickets.acknowledge": ("POST", "/v1/acks"),
    "health.metrics": ("GET", "/metrics"),
    "encryption.encrypt": ("POST", "/v1/admin/encrypt"),
    "encryption.decrypt": ("POST", "/v1/admin/decrypt"),
    "spring.environment": ("GET", "/spring/shop/prod"),
    "spring.labelled": ("GET", "/spring/shop/prod/main"),
    "spring.flat": ("GET", "/spring/shop-prod.yml"),
    "spring.file": ("GET", "/spring/shop/prod/main/logback.xml"),
    "spring.encrypt": ("POST", "/spring/encrypt"),
    "spring.decrypt": ("POST", "/spring/decrypt"),
    "spring.encrypt_for": ("POST", "/spring/encrypt/shop/prod"),
    "spring.decrypt_for": ("POST", "/spring/decrypt/shop/prod"),
    "spring.key_for": ("GET", "/spring/key/shop/prod"),
    "spring.encrypt_status": ("GET", "/spring/encrypt/status"),
    "spring.key": ("GET", "/spring/key"),
}


def test_every_route_is_in_the_table_and_the_table_names_no_other(shop: Shop) -> None:
    assert {rule.endpoint for rule in shop.serving.server.app.url_map.iter_rules()} == set(ROUTES)


def test_every_guarded_route_has_a_request_here() -> None:
    guarded = {name for name, need in ROUTES.items() if need not in {Need.NOTHING, Need.SIGNATURE}}
    assert guarded - {"stream.websocket"} == set(REQUESTS)


@pytest.mark.parametrize("endpoint", REQUESTS)
def test_without_a_token_it_is_401_and_says_how(shop: Shop, endpoint: str) -> None:
    method, path = REQUESTS[endpoint]

    answer = shop.serving.ask(path, method=method, token="")

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    if endpoint.startswith("spring."):
        assert set(answer.json()) == {"timestamp", "status", "error", "message", "path"}
        return
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("endpoint", "scope"),
    [
        ("config.read", "config:read:other"),
        ("config.read", "config:read:shop/staging"),
        ("config.read", "xconfig:read config:readwrite config:read:"),
        ("config.read", "config:read"),
        ("config.file", "config:read:other"),
        ("history.revisions", "config:view:other"),
        ("history.diff", "config:view:other"),
        ("stream.events", "config:read:other"),
        ("admin.refresh", READ_ALL),
        ("admin.refresh", "config:write:shop"),
        ("audit.records", "config:read:*/* config:write"),
        ("hold.begin", "config:write:shop"),
        ("hold.release", VIEW_ALL),
        ("changes.plan", READ_ALL),
        ("changes.change", VIEW_ALL),
        ("changes.rollback", VIEW_ALL),
        ("changes.promote", VIEW_ALL),
        ("health.metrics", "config:read:shop"),
        ("encryption.encrypt", "config:write config:decrypt"),
        ("encryption.decrypt", "config:write config:encrypt"),
        ("spring.encrypt", "config:write config:decrypt"),
        ("spring.decrypt", "config:write config:encrypt"),
        ("spring.environment", "config:read:other"),
        ("spring.environment", "config:read:shop/staging"),
        ("spring.labelled", "config:read"),
        ("spring.flat", "config:view:other"),
        ("spring.file", "config:read:other"),
    ],
)
def test_without_the_grant_it_is_403(shop: Shop, endpoint: str, scope: str) -> None:
    method, path = REQUESTS[endpoint]

    assert shop.serving.ask(path, method=method, token=shop.serving.token(scope)).status_code == 403


def test_what_one_may_not_see_and_what_does_not_exist_look_alike(shop: Shop) -> None:
    token = shop.serving.token("config:read:other")
    answers = [shop.serving.get(f"{name}/prod", token=token).json() for name in ("shop", "no-such-service")]
    for answer in answers:
        del answer["request_id"]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("scope", [VIEW_ALL, "config:view", "config:write"])
def test_metrics_take_view_of_everything(shop: Shop, scope: str) -> None:
    assert shop.serving.ask("/metrics", token=shop.serving.token(scope)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Authorization": "Basic eDp5"}, "another scheme"),
        ({"Authorization": "Bearer"}, "no token"),
        ({"Authorization": "Bearer a b"}, "two words"),
        ({"Authorization": "Bearer a.b.c"}, "garbage"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_bad_header_is_401(shop: Shop, headers: dict[str, str], why: str) -> None:
    assert shop.serving.ask("/v1/config/shop/prod", token="", headers=headers).status_code == 401, why


def test_bearer_may_be_written_in_any_case(shop: Shop) -> None:
    headers = {"Authorization": f"bEaReR {shop.serving.token()}"}
    assert shop.serving.ask("/v1/config/shop/prod", token="", headers=headers).status_code == 200


@pytest.mark.parametrize(("path", "status"), [("/nope", 404), ("/v1/config", 404), ("/v1/config/shop", 404)])
def test_what_is_no_route_is_404(shop: Shop, path: str, status: int) -> None:
    answer = shop.serving.ask(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")


def test_another_method_is_405_and_says_which(shop: Shop) -> None:
    answer = shop.serving.ask("/v1/config/shop/prod", method="DELETE")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


def test_every_error_has_a_status() -> None:
    kinds = [
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ConfigServerError)
    ]
    assert len(kinds) > 15
    for kind in kinds:
        assert any(base in STATUS for base in kind.__mro__), kind
    assert status_of(errors.UnknownLabel("x")) == 404
    assert status_of(errors.Behind("x")) == 503


def test_denials_are_on_record_with_who_and_what(shop: Shop) -> None:
    token = shop.serving.token("config:read:other", sub="mallory")
    answer = shop.serving.get("shop/prod", token=token)
    shop.serving.get("shop/prod", token="")
    shop.serving.server.services.audit.flush_due(time.time() + 120)
    (line,) = eventually(lambda: [line for line in shop.serving.trail() if answer.headers["X-Request-ID"] in line])
    assert '"subject":"mallory"' in line
    assert '"target":"shop/prod"' in line
    assert '"outcome":"denied"' in line
