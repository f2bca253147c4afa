"""Config Server: central configuration for microservices.

`create_app(settings)` makes the WSGI application, `ConfigServer` runs one as a library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask
    from prometheus_client import CollectorRegistry

    from app.embedded import ConfigServer
    from app.settings import Settings

__all__ = ["ConfigServer", "create_app"]


def create_app(settings: Settings, registry: CollectorRegistry | None = None) -> Flask:
    """The application, wired and not yet started: `services(app).start()` comes after the fork."""
    from flask import Flask

    from app.blueprints import (
        admin,
        attempts,
        audit,
        changes,
        config,
        cors,
        docs,
        encryption,
        guard,
        health,
        history,
        hold,
        hooks,
        hot,
        http,
        overview,
        problems,
        proxies,
        spring,
        spring_encryption,
        spring_monitor,
        spring_shape,
        stream,
        tickets,
    )
    from app.observability import flask_metrics
    from app.services import Services

    services = Services(settings, registry)
    operating = services.operating
    app = Flask("app", static_folder=None)
    app.config["SOCK_SERVER_OPTIONS"] = stream.SERVER_OPTIONS
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's default provider has it
    app.url_map.merge_slashes = False  # `//` is 404, not a redirect to another path than was authorised
    app.extensions["config_server"] = services
    read_lines = http.ReadLines(settings.log_reads_one_of)
    metrics_at = guard.metrics_at(settings.metrics)
    app.wsgi_app = hot.HotReads(  # type: ignore[method-assign]
        app.wsgi_app, services.engine, services.access, services.metrics, read_lines, elsewhere=metrics_at.port
    )
    if settings.trusted_proxies:
        app.wsgi_app = proxies.TrustedProxies(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign]
    problems.install(app)
    http.install(app, services.audit, services.metrics, read_lines)
    flask_metrics.install(app, services.metrics, untimed=stream.ENDPOINTS)
    cors.install(app, frozenset(settings.allowed_origins))
    attempts.install(app, services.attempts)
    dialect = spring.dialect_of(settings.spring_prefix, services.urls, settings.token_headers)
    spring_shape.install(app, dialect.prefix)
    guard.install(app, services.access, services.tickets, metrics_at, dialect.token_headers)
    app.register_blueprint(config.blueprint(services.engine))
    app.register_blueprint(history.blueprint(services.engine, operating.history, services.access))
    app.register_blueprint(stream.blueprint(services.streams, services.stream_loop, services.metrics))
    app.register_blueprint(tickets.blueprint(services.tickets, services.presence))
    app.register_blueprint(
        admin.blueprint(
            services.engine,
            services.hint,
            services.new_heads,
            services.record,
            services.revoke,
            services.issuers,
            further=services.urls.keys() - {""},
            patience=20,
        )
    )
    app.register_blueprint(changes.blueprint(operating.changes))
    cipher = encryption.Encryption(services.encrypt_keys, settings.decrypt_endpoint, services.record, services.transit)
    app.register_blueprint(encryption.blueprint(cipher))
    app.register_blueprint(hold.blueprint(operating.holds))
    app.register_blueprint(
        overview.blueprint(
            services.engine,
            operating.problems,
            operating.instances,
            operating.planner,
            services.rollouts,
            services.withheld,
            services.access,
            services.health,
        )
    )
    app.register_blueprint(audit.blueprint(services.auditing.view))
    app.register_blueprint(hooks.blueprint(operating.webhook_secret, operating.arrivals))
    spring_routes = spring.blueprint(services.spring, services.spring_files, dialect)
    spring_encryption.add_to(spring_routes, cipher)
    spring_monitor.add_to(spring_routes, operating.webhook_secret, operating.arrivals)
    app.register_blueprint(spring_routes)
    app.register_blueprint(health.blueprint(services.health, services.metrics))
    app.register_blueprint(docs.blueprint())
    return app


def __getattr__(name: str) -> Any:
    """ConfigServer is imported when it is used: gunicorn's master needs only the log format from this package."""
    if name == "ConfigServer":
        from app.embedded import ConfigServer

        return ConfigServer
    raise AttributeError(f"module 'app' has no attribute {name!r}")
