"""One JSON line per event, for structlog and stdlib loggers alike, with the request id and without secrets.

Fields, after the Elastic Common Schema where it has a word:

    @timestamp          RFC 3339, UTC, milliseconds       log.level       debug info warning error critical
    message             the event                         log.logger      who says it (dotted module name)
    service.name        always "config-server"            process.pid     the worker
    http.request.id     bound by bind_request             http.request.method, http.route (the template, not the path)
    http.response.status_code, http.response.bytes        event.duration_ms
    client.ip           the peer                          user.id         the subject of the token
    config.topic        service/env/label                 stream.transport, stream.phase, stream.reason
    error.type, error.message, error.stack_trace          the stack on one line, innermost frame first

Other keyword arguments of a call stand in the line under their own names.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import Any, Final, TextIO

import structlog

from app.observability.redaction import MAX_STRING, as_json, redact, redact_text, shortened, suspicious

SERVICE: Final = "config-server"
_MAX_STACK: Final = 16_384
_MAX_FRAMES: Final = 40

#: Keyword arguments with an ECS name of their own.
FIELD_NAMES: Final = MappingProxyType(
    {
        "event": "message",
        "request_id": "http.request.id",
        "method": "http.request.method",
        "route": "http.route",
        "status": "http.response.status_code",
        "size": "http.response.bytes",
        "duration_ms": "event.duration_ms",
        "address": "client.ip",
        "subject": "user.id",
        "topic": "config.topic",
        "transport": "stream.transport",
        "phase": "stream.phase",
    }
)

#: Libraries whose debug lines hold addresses in Vault, remote URLs or whole requests.
_CHATTY: Final = ("urllib3", "requests", "hvac", "git", "redis", "werkzeug", "asyncio")

#: The id of the request that this thread, greenlet or task is serving. A new greenlet or thread starts without one.
_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

Event = MutableMapping[str, Any]


def bind_request(request_id: str) -> None:
    """Every line of this thread or greenlet bears `request_id` from now on."""
    _request_id.set(request_id)


def clear_request() -> None:
    """Lines of this thread or greenlet bear no request id any more (a kept-alive connection serves several)."""
    _request_id.set(None)


def current_request() -> str | None:
    """The id that lines of this thread or greenlet bear now."""
    return _request_id.get()


@contextmanager
def on_behalf_of(request_id: str | None) -> Iterator[None]:
    """Lines of this thread or greenlet bear `request_id` meanwhile: it works for a request that others serve."""
    before = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(before)


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Route structlog and stdlib logging to `stream` (default: stdout), one JSON line per event from `level` up.

    Replaces what was configured before, so it may be called again (after a fork, in a test). `level` is one of debug,
    info, warning, error, critical, in any case; raises ValueError for another. Lines from threads never mix.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"no log level {level!r}")
    writer = _LineWriter(stream or sys.stdout, tells_info=number <= logging.INFO)
    structlog.configure(
        processors=[_with_level, _render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=writer.named,
        cache_logger_on_first_use=False,  # a cached logger would keep the stream of the first configuration
    )
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[_StdlibHandler(writer)], level=number, force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


class _LineWriter:
    """Writes whole lines to one stream, for every logger of the process."""

    def __init__(self, stream: TextIO, *, tells_info: bool) -> None:
        self.tells_info = tells_info
        self._stream = stream
        self._lock = threading.Lock()  # guards the stream: a line and its newline stay together

    def write(self, line: str) -> None:
        try:
            with self._lock:
                self._stream.write(line + "\n")
                self._stream.flush()
        except (OSError, ValueError):
            # The reader of the log is gone, its disk is full or the stream is closed: a request does not fail for it.
            return

    def named(self, *args: Any) -> _Logger:
        return _Logger(self, str(args[0]) if args else None)


class _Logger:
    """What structlog calls with the finished line."""

    __slots__ = ("critical", "debug", "error", "info", "name", "warning")

    def __init__(self, writer: _LineWriter, name: str | None) -> None:
        self.name = name
        self.debug = self.info = self.warning = self.error = self.critical = writer.write


def _with_level(logger: Any, method: str, event: Event) -> Event:
    event["log.level"] = "error" if method == "exception" else method
    if logger.name:
        event["log.logger"] = logger.name
    return event


class _StdlibHandler(logging.Handler):
    """Renders records of gunicorn and of libraries like our own events."""

    def __init__(self, writer: _LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = f"{record.msg} {record.args!r}"  # wrong placeholders in a library's call
        event: Event = {"event": message, "log.level": record.levelname.lower(), "log.logger": record.name}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        self._writer.write(_render(None, "", event))


def _render(_logger: Any, _method: str, event: Event) -> str:
    """The event as one line of ASCII, redacted."""
    line: dict[str, Any] = {
        "@timestamp": _now(),
        "log.level": event.pop("log.level"),
        "message": event.pop("event", ""),
        "service.name": SERVICE,
        "process.pid": current_pid(),
    }
    request_id = _request_id.get()
    if request_id is not None:
        line["http.request.id"] = request_id
    exc_info = event.pop("exc_info", None)
    for key, value in event.items():
        if value is not None:
            line[FIELD_NAMES.get(key, key)] = value
    if exc_info:
        line.update(_described(exc_info))
    return _encoded(line)


_pid = os.getpid()


def current_pid() -> int:
    """This process's id, without asking the system each time."""
    return _pid


def _forked() -> None:
    global _pid
    _pid = os.getpid()


os.register_at_fork(after_in_child=_forked)

_second: tuple[int, str] = (0, "")


def _now() -> str:
    """RFC 3339 with milliseconds. What does not change within a second is written once in it."""
    global _second
    now = time.time()
    second, text = _second
    if second != int(now):
        second, text = _second = int(now), time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    return f"{text}.{int((now - second) * 1000):03}Z"


def fields_json(**fields: object) -> str:
    """Fields as they stand in a line, redacted, each after a comma: a part for `info_line`, which may be kept."""
    named = {FIELD_NAMES.get(name, name): value for name, value in fields.items() if value is not None}
    return f",{_encoded(named)[1:-1]}" if named else ""


def info_line(logger: str, message: str, fields: str, request_id: str | None = None) -> bool:
    """Write a line of level info made of `fields_json`, as structlog would have; False where it must, as
    `configure_logging` has not been called. For the line of each request: structlog takes ten times as long."""
    writer = getattr(structlog.get_config()["logger_factory"], "__self__", None)
    if not isinstance(writer, _LineWriter):
        return False
    if writer.tells_info:
        id_ = request_id or _request_id.get()
        bound = "" if id_ is None else _ID_FIELD % id_ if _MADE_HERE.fullmatch(id_) else fields_json(request_id=id_)
        writer.write(
            f'{{"@timestamp":"{_now()}","log.level":"info","message":"{message}","service.name":"{SERVICE}"'
            f',"process.pid":{current_pid()}{bound}{fields},"log.logger":"{logger}"}}'
        )
    return True


#: A request's id that came from nobody, and so needs no look.
_MADE_HERE: Final = re.compile(r"[0-9a-f]{16}")
_ID_FIELD: Final = f',"{FIELD_NAMES["request_id"]}":"%s"'


def _encoded(line: dict[str, Any]) -> str:
    """JSON in ASCII, so that no control or bidirectional character can forge or reorder a line."""
    text = _dumps(line)
    if len(text) > MAX_STRING or suspicious(text):
        stack = line.pop("error.stack_trace", None)
        line = {key: value if key in _TRUSTED else _one(key, value) for key, value in line.items()}
        if stack is not None:
            line["error.stack_trace"] = shortened(redact_text(stack), _MAX_STACK)
        text = _dumps(line)
    return text.replace("\x7f", "\\u007f")  # the one control character that JSON leaves as it is


#: Fields that are ours, whatever a request holds.
_TRUSTED: Final = frozenset({"@timestamp", "log.level", "log.logger", "service.name", "process.pid"})


def _one(key: str, value: object) -> object:
    redacted = redact({key: value})
    return next(iter(redacted.values())) if isinstance(redacted, dict) else None


_dumps = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=as_json, skipkeys=True).encode


def _described(exc_info: Any) -> dict[str, str]:
    error = exc_info if isinstance(exc_info, BaseException) else _raised(exc_info)
    if error is None:
        return {}
    return {
        "error.type": _type_name(error),
        "error.message": str(error),
        "error.stack_trace": _stack(error),
    }


def _raised(exc_info: Any) -> BaseException | None:
    """The exception of an exc_info triple, or the one being handled (`exc_info=True`)."""
    triple = exc_info if isinstance(exc_info, tuple) else sys.exc_info()
    return triple[1] if isinstance(triple[1], BaseException) else None


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _stack(error: BaseException) -> str:
    """`Type: text at module.function:line < caller … | caused by …`: no path of this machine, no source line."""
    parts: list[str] = []
    current: BaseException | None = error
    while current is not None and len(parts) < 5:
        frames = " < ".join(_frames(current.__traceback__))
        parts.append(f"{_type_name(current)}: {shortened(str(current), 500)} at {frames or 'no frame'}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return " | caused by ".join(parts)


def _frames(trace: TracebackType | None) -> list[str]:
    """The frames, innermost first, by module name and line."""
    frames = [
        f"{frame.f_globals.get('__name__', '?')}.{frame.f_code.co_name}:{line}"
        for frame, line in traceback.walk_tb(trace)
    ]
    return frames[::-1][:_MAX_FRAMES]
