"""Requests through Flask and past it, in one histogram by route template."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask, Response, abort, request
from prometheus_client import CollectorRegistry

from app.observability import Metrics
from app.observability.flask_metrics import install, leave_untimed


class Served:
    """An app with a route of every sort, and what was counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.app = Flask("served")
        install(self.app, self.metrics, untimed={"stream"})
        self.app.before_request(self._authenticate)
        self.app.add_url_rule("/v1/config/<service>/<env>", "read", lambda service, env: f"{service}/{env}")
        self.app.add_url_rule("/v1/stream", "stream", self._stream)
        self.app.add_url_rule("/v1/wait", "wait", self._wait)
        self.app.add_url_rule("/broken", "broken", self._broken)
        self.client = self.app.test_client()

    def count(self, route: str, status: int, method: str = "GET") -> float:
        labels = {"method": method, "route": route, "status": str(status)}
        return self.registry.get_sample_value("config_server_http_request_duration_seconds_count", labels) or 0

    def routes(self) -> set[str]:
        families = (family for family in self.registry.collect() if "http_request_duration" in family.name)
        return {sample.labels["route"] for family in families for sample in family.samples}

    @staticmethod
    def _authenticate() -> None:
        if "deny" in request.args:
            abort(401)

    @staticmethod
    def _stream() -> Response:
        def events() -> Iterator[str]:
            yield "event: hello\n\n"

        return Response(events(), mimetype="text/event-stream")

    @staticmethod
    def _wait() -> str:
        leave_untimed()
        return "at last"

    @staticmethod
    def _broken() -> str:
        raise ZeroDivisionError


@pytest.fixture
def served() -> Served:
    return Served()


def test_requests_are_counted_by_route_template(served: Served) -> None:
    for number in range(50):
        served.client.get(f"/v1/config/service-{number}/prod")
    assert served.count("/v1/config/<service>/<env>", 200) == 50
    assert served.routes() == {"/v1/config/<service>/<env>"}


def test_unknown_paths_are_one_label(served: Served) -> None:
    for number in range(50):
        served.client.get(f"/wp-admin/{number}")
    assert served.count("unmatched", 404) == 50
    assert served.routes() == {"unmatched"}


def test_unknown_methods_are_one_label(served: Served) -> None:
    for number in range(50):
        served.client.open("/v1/config/a/b", method=f"BREW{number}")
    assert served.count("unmatched", 405, "other") == 50
    assert "BREW" not in served.metrics.render()[0].decode()


def test_a_refusal_by_a_later_hook_is_measured(served: Served) -> None:
    served.client.get("/v1/config/a/b?deny")
    assert served.count("/v1/config/<service>/<env>", 401) == 1


def test_a_view_that_breaks_is_a_500(served: Served) -> None:
    assert served.client.get("/broken").status_code == 500
    assert served.count("/broken", 500) == 1


def test_streams_and_long_polls_are_not_latencies(served: Served) -> None:
    assert served.client.get("/v1/stream").text == "event: hello\n\n"
    assert served.client.get("/v1/wait").text == "at last"
    assert served.routes() == set()


def test_a_way_past_flask_feeds_the_very_same_histogram(served: Served) -> None:
    served.client.get("/v1/config/a/b")
    served.metrics.observe_request("GET", "/v1/config/<service>/<env>", 200, 0.5)
    served.metrics.observe_request("BREW", "/v1/config/<service>/<env>", 200, 0.5)
    assert served.count("/v1/config/<service>/<env>", 200) == 2
    total = served.registry.get_sample_value("config_server_http_request_total", {"method": "GET", "status": "200"})
    assert total == 2
    text = served.metrics.render()[0].decode()
    assert text.count("# TYPE config_server_http_request_duration_seconds histogram") == 1


def test_no_route_is_added(served: Served) -> None:
    assert served.client.get("/metrics").status_code == 404


def test_metrics_measure_one_app_only(served: Served) -> None:
    with pytest.raises(ValueError, match="another app"):
        install(Flask("second"), served.metrics)
