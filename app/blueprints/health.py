"""/health for orchestrators and people, /metrics for Prometheus. None of them asks another system."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue

from app.observability import Health, Metrics


def blueprint(health: Health, metrics: Metrics) -> Blueprint:
    routes = Blueprint("health", __name__)

    def live() -> ResponseReturnValue:
        """The process answers."""
        return jsonify(status="ok")

    def ready() -> ResponseReturnValue:
        """There is a configuration to serve, and the worker is not going away."""
        return (jsonify(status="ready"), 200) if health.ready else (jsonify(status="not ready"), 503)

    def report() -> ResponseReturnValue:
        """Each part's state. 200 also when degraded: the last good configuration is being served."""
        return jsonify(health.report())

    def metrics_text() -> ResponseReturnValue:
        body, content_type = metrics.render(request.headers.get("Accept", ""))
        return Response(body, content_type=content_type)

    routes.get("/health/live")(live)
    routes.get("/health/ready")(ready)
    routes.get("/health")(report)
    routes.get("/metrics", endpoint="metrics")(metrics_text)
    return routes
