"""The metrics of one process: every verb moves its series, and nothing from outside makes one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from app.observability import Metrics
from app.observability.flask_metrics import install

VERBS: list[tuple[Callable[[Metrics], None], str, dict[str, str], float]] = [
    (lambda m: m.observe_fetch("ok", 0.2), "git_fetches_total", {"outcome": "ok"}, 1),
    (lambda m: m.observe_fetch("failed", 0.2), "git_fetch_duration_seconds_count", {}, 1),
    (lambda m: m.set_last_fetch(1234.5), "git_last_success_timestamp_seconds", {}, 1234.5),
    (lambda m: m.observe_resolve(0.003), "resolve_duration_seconds_sum", {}, 0.003),
    (lambda m: m.observe_vault_read("ok", 0.1), "vault_read_duration_seconds_count", {"outcome": "ok"}, 1),
    (lambda m: m.count_cache("parse", hit=True), "cache_hits_total", {"cache": "parse"}, 1),
    (lambda m: m.count_cache("shared", hit=False), "cache_misses_total", {"cache": "shared"}, 1),
    (
        lambda m: m.count_stream("sse", "opened"),
        "stream_connections_total",
        {"transport": "sse", "outcome": "opened"},
        1,
    ),
    (lambda m: m.add_stream("websocket", 1), "streams_open", {"transport": "websocket"}, 1),
    (lambda m: m.add_long_poll(1), "long_polls_waiting", {}, 1),
    (lambda m: m.count_pushed("put", 5), "changes_pushed_total", {"op": "put"}, 5),
    (lambda m: m.observe_push(0.02), "push_duration_seconds_count", {}, 1),
    (lambda m: m.set_held_back(3), "targets_held_back", {}, 3),
    (lambda m: m.set_withheld(2), "labels_withheld", {}, 2),
    (lambda m: m.set_stale("vault", stale=True), "stale", {"reason": "vault"}, 1),
    (lambda m: m.set_cursor(42), "cursor_seq", {}, 42),
    (lambda m: m.set_bus_up(up=True), "bus_up", {}, 1),
    (lambda m: m.set_jwks_fetched(77), "jwks_last_success_timestamp_seconds", {}, 77),
    (lambda m: m.count_audit(2), "audit_records_total", {}, 2),
    (lambda m: m.count_audit_failure(), "audit_failures_total", {}, 1),
    (lambda m: m.count_denial("forbidden"), "denials_total", {"kind": "forbidden"}, 1),
]


@pytest.mark.parametrize(("verb", "name", "labels", "value"), VERBS, ids=[verb[1] for verb in VERBS])
def test_each_verb_moves_its_series(
    verb: Callable[[Metrics], None], name: str, labels: dict[str, str], value: float
) -> None:
    registry = CollectorRegistry()
    verb(Metrics(registry))
    assert registry.get_sample_value(f"config_server_{name}", labels) == value


def test_words_from_outside_count_as_other() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for number in range(1000):
        metrics.count_denial(f"kind-{number}")
        metrics.observe_fetch(f"outcome-{number}", 0.1)
        metrics.count_stream(f"transport-{number}", f"outcome-{number}")
    assert registry.get_sample_value("config_server_denials_total", {"kind": "other"}) == 1000
    assert len(metrics.render()[0]) < 60_000


def test_paths_passed_as_routes_end_in_one_series() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    install(Flask("app"), metrics)
    for number in range(2100):
        metrics.observe_request("GET", f"/v1/config/{number}", 200, 0.1)
    total = {"method": "GET", "route": "other", "status": "200"}
    assert registry.get_sample_value("config_server_http_request_duration_seconds_count", total) == 100


def test_a_scrape_is_valid_and_names_the_build() -> None:
    body, content_type = Metrics(version="1.2.3").render()
    assert content_type.startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert families["config_server_build_info"].samples[0].labels["version"] == "1.2.3"
    assert all(family.documentation for family in families.values())
    assert all(name.startswith("config_server_") for name in families)


def test_open_metrics_is_given_to_who_asks() -> None:
    assert Metrics().render("application/openmetrics-text; version=1.0.0")[1].startswith("application/openmetrics-text")


def test_metrics_of_the_owner_of_the_registry_are_in_the_scrape() -> None:
    registry = CollectorRegistry()
    Counter("shop_orders", "Of the application that embeds us.", registry=registry).inc()
    assert b"shop_orders_total 1.0" in Metrics(registry).render()[0]


def test_two_servers_of_one_process_count_apart() -> None:
    one, other = CollectorRegistry(), CollectorRegistry()
    first, second = Metrics(one), Metrics(other)
    install(Flask("one"), first)
    install(Flask("other"), second)
    first.set_cursor(1)
    second.set_cursor(2)
    assert one.get_sample_value("config_server_cursor_seq") == 1
    assert other.get_sample_value("config_server_cursor_seq") == 2


def test_a_second_server_on_a_registry_is_refused_until_the_first_is_closed() -> None:
    registry = CollectorRegistry()
    first = Metrics(registry)
    install(Flask("first"), first)
    with pytest.raises(ValueError, match="config_server_"):
        Metrics(registry)
    first.close()
    assert list(registry.collect()) == []
    second = Metrics(registry)
    install(Flask("second"), second)
    second.set_cursor(7)
    assert registry.get_sample_value("config_server_cursor_seq") == 7


def test_a_refused_server_leaves_nothing_behind() -> None:
    registry = CollectorRegistry()
    Counter("config_server_denials", "Somebody else's.", registry=registry)
    with pytest.raises(ValueError, match="denials"):
        Metrics(registry)
    assert [family.name for family in registry.collect()] == ["config_server_denials"]


def test_a_request_cannot_be_observed_before_there_is_a_histogram() -> None:
    with pytest.raises(RuntimeError, match="install"):
        Metrics().observe_request("GET", "/x", 200, 0.1)
