"""What an operator sees of the server: JSON lines, metrics and health.

The law: used from anywhere but `effective` and `model`, and itself importing only `errors` and `model`; no secret, no
token and no unbounded label leaves through here. `flask_metrics` and `multiprocess` are imported by those who need
them (the HTTP layer and config/gunicorn.conf.py), so that a room that logs does not import Flask.
"""

from app.observability.access_log import AccessLine, access_line, stream_closed, stream_opened
from app.observability.behalf import Behalf, current_cause
from app.observability.health import Condition, Health, PartState
from app.observability.logs import bind_request, clear_request, configure_logging, current_request, on_behalf_of
from app.observability.metrics import Metrics
from app.observability.redaction import printable, redact_text
from app.observability.traces import is_tracing, open_span, request_span, span, start_traces

__all__ = [
    "AccessLine",
    "Behalf",
    "Condition",
    "Health",
    "Metrics",
    "PartState",
    "access_line",
    "bind_request",
    "clear_request",
    "configure_logging",
    "current_cause",
    "current_request",
    "is_tracing",
    "on_behalf_of",
    "open_span",
    "printable",
    "redact_text",
    "request_span",
    "span",
    "start_traces",
    "stream_closed",
    "stream_opened",
]
