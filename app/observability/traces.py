"""Spans for OpenTelemetry, where its packages are installed and OTEL_EXPORTER_OTLP_ENDPOINT is set; else nothing.

Its packages are imported by `start_traces` alone, so that who does not use them does not pay. A span says what was done
for which target or route and how it ended: never a value, a secret, a path of Vault, a token, or an error's text.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import structlog

from app.observability.logs import SERVICE, current_request

log = structlog.get_logger(__name__)

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
#: How long one export may take, in seconds: the end of a worker waits for the last one.
_PATIENCE = 2.0
_NOTHING: AbstractContextManager[None] = nullcontext()
#: Set once by `start_traces`, as logging is configured once for a process.
_tracer: Any = None


def span(name: str, **attributes: str | int) -> AbstractContextManager[None]:
    """A span around a piece of work, below the one that this thread or greenlet is in; nothing while traces are off."""
    return _NOTHING if _tracer is None else _span(name, attributes)


def is_tracing() -> bool:
    return _tracer is not None


def open_span(name: str, **attributes: str | int) -> Callable[[], None]:
    """A span that another thread may end, by calling this; nothing while traces are off."""
    if _tracer is None:
        return _nothing
    end: Callable[[], None] = _tracer.start_span(name, attributes=_with_request(attributes)).end
    return end


def current_trace() -> str | None:
    """Where this thread or greenlet is in its trace, as a `traceparent`; None outside of one."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def below(trace: str) -> AbstractContextManager[None]:
    """Spans of this thread or greenlet are meanwhile below `trace`, a `traceparent`, or below nothing if it is none."""
    return _below(trace) if _tracer is not None and trace else _NOTHING


@contextmanager
def request_span(name: str, headers: Mapping[str, str]) -> Iterator[Callable[[int], None]]:
    """The span of a request, below the caller's (`traceparent`, W3C Trace Context); while traces are on.

    Yields what to tell the status.
    """
    from opentelemetry.trace import SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract({key.lower(): value for key, value in headers.items()})
    options: dict[str, Any] = {"kind": SpanKind.SERVER, "record_exception": False, "set_status_on_exception": False}
    with _tracer.start_as_current_span(name, context=parent, attributes=_with_request({}), **options) as current:

        def ended(status: int) -> None:
            current.set_attribute("http.response.status_code", status)
            if status >= 500:
                current.set_status(Status(StatusCode.ERROR))

        yield ended


def start_traces(environ: Mapping[str, str] = os.environ) -> Callable[[], None]:
    """Export from now on, if that is wanted and possible. After the fork. Returns what ends it and sends the rest."""
    global _tracer
    if not environ.get(ENDPOINT):
        return _nothing
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("traces.not_installed", packages="opentelemetry-sdk, opentelemetry-exporter-otlp-proto-http")
        return _nothing
    name = {} if environ.get("OTEL_SERVICE_NAME") else {"service.name": SERVICE}
    patience = None if environ.get("OTEL_EXPORTER_OTLP_TIMEOUT") else _PATIENCE  # None: as that variable says
    provider = TracerProvider(resource=Resource.create(name), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=patience)))
    _tracer = provider.get_tracer(SERVICE)

    def end() -> None:
        global _tracer
        _tracer = None
        provider.shutdown()

    return end


@contextmanager
def _below(trace: str) -> Iterator[None]:
    from opentelemetry.context import attach, detach
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    token = attach(TraceContextTextMapPropagator().extract({"traceparent": trace}))
    try:
        yield
    finally:
        detach(token)


@contextmanager
def _span(name: str, attributes: Mapping[str, str | int]) -> Iterator[None]:
    from opentelemetry.trace import Status, StatusCode

    options = {"record_exception": False, "set_status_on_exception": False}
    with _tracer.start_as_current_span(name, attributes=_with_request(attributes), **options) as current:
        try:
            yield
        except BaseException as exc:
            current.set_attribute("error.type", type(exc).__name__)
            current.set_status(Status(StatusCode.ERROR))
            raise


def _with_request(attributes: Mapping[str, str | int]) -> dict[str, str | int]:
    """With the id that the log has too, so that whoever has the one finds the other."""
    request_id = current_request()
    return {**attributes, **({"http.request.id": request_id} if request_id else {})}


def _nothing() -> None:
    """There is nothing to end."""
