"""One JSON line per event, whoever logs, with the request id and nothing secret or forged."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
import time
import warnings

import pytest
import structlog

from app.observability import (
    access_line,
    bind_request,
    configure_logging,
    stream_closed,
    stream_opened,
)
from tests.observability.logged import lines, out

__all__ = ["out"]


def test_an_event_is_one_line_with_the_documented_fields(out: io.StringIO) -> None:
    bind_request("req-1")
    structlog.get_logger("app.engine").warning("held back", topic="pay/prod/main", commit="abc")
    (line,) = lines(out)
    assert line.pop("@timestamp").endswith("Z")
    assert line.pop("process.pid") > 0
    assert line == {
        "log.level": "warning",
        "log.logger": "app.engine",
        "message": "held back",
        "service.name": "config-server",
        "http.request.id": "req-1",
        "config.topic": "pay/prod/main",
        "commit": "abc",
    }


def test_a_library_that_logs_looks_the_same(out: io.StringIO) -> None:
    bind_request("req-2")
    logging.getLogger("gunicorn.error").error("Worker (pid:%s) exited", 12)
    (line,) = lines(out)
    assert (line["message"], line["log.level"]) == ("Worker (pid:12) exited", "error")
    assert (line["log.logger"], line["http.request.id"]) == ("gunicorn.error", "req-2")


def test_a_library_with_wrong_placeholders_still_gets_its_line(out: io.StringIO) -> None:
    careless = logging.getLogger("careless")
    careless.propagate = False  # past pytest's own handler, which would raise
    careless.addHandler(next(handler for handler in logging.root.handlers if handler.__module__.startswith("app.")))
    careless.error("%d things", "many")
    careless.handlers.clear()
    assert lines(out)[0]["message"] == "%d things ('many',)"


def test_a_python_warning_is_a_line(out: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old call", UserWarning, stacklevel=1)
    assert "old call" in lines(out)[0]["message"]


def test_lower_levels_and_chatty_libraries_are_silent(out: io.StringIO) -> None:
    structlog.get_logger("app").debug("not this")
    logging.getLogger("app").debug("nor this")
    logging.getLogger("urllib3.connectionpool").info("GET /v1/kv/data/pay")
    assert lines(out) == []


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="loud"):
        configure_logging("loud")


def test_an_exception_is_one_line_without_paths_of_the_machine(out: io.StringIO) -> None:
    def inner() -> None:
        raise KeyError("a")

    try:
        try:
            inner()
        except KeyError as error:
            raise ValueError("first\nsecond") from error
    except ValueError:
        structlog.get_logger("app").exception("it broke")
    assert out.getvalue().count("\n") == 1
    (line,) = lines(out)
    assert line["log.level"] == "error"
    assert (line["error.type"], line["error.message"]) == ("ValueError", "first\nsecond")
    assert "caused by KeyError: 'a' at tests.observability.test_logs.inner:" in line["error.stack_trace"]
    assert __file__ not in out.getvalue()


def test_a_library_exception_is_described_too(out: io.StringIO) -> None:
    try:
        raise OSError("no route")
    except OSError as error:
        logging.getLogger("lib").warning("failed", exc_info=error)
    assert lines(out)[0]["error.type"] == "OSError"


@pytest.mark.parametrize(
    "secret",
    ["hvs.CAESIJ1234567890", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwIn0.c2ln", "https://u:hunter2@git.example.com/x"],
)
def test_a_secret_is_in_no_part_of_a_line(out: io.StringIO, secret: str) -> None:
    log = structlog.get_logger("app")
    log.info(f"message {secret}")
    log.info("field", field=secret, nested={"deep": [secret]}, password="hunter2")
    logging.getLogger("lib").info("argument %s", secret)
    try:
        try:
            raise OSError(f"inner {secret}")
        except OSError as error:
            raise ValueError(f"outer {secret}") from error
    except ValueError:
        log.exception("failed")
    assert len(lines(out)) == 4
    assert secret not in out.getvalue()
    assert "hunter2" not in out.getvalue()


@pytest.mark.parametrize(
    "name", ['pay\n{"message":"forged"}', "pay\r\nforged", "pay\u2028forged", "\u202egrp", "\x00\x7f\x9b"]
)
def test_no_name_from_outside_forges_or_reorders_a_line(out: io.StringIO, name: str) -> None:
    structlog.get_logger("app").info(name, topic=name)
    text = out.getvalue()
    assert text.count("\n") == 1
    assert text.isascii()
    assert text.rstrip("\n").isprintable()
    assert lines(out)[0]["config.topic"] == name


def test_long_strings_are_cut(out: io.StringIO) -> None:
    structlog.get_logger("app").info("x" * 100_000, field="y" * 100_000)
    assert len(out.getvalue()) < 9_000


def test_values_json_does_not_know_are_written_as_text(out: io.StringIO) -> None:
    structlog.get_logger("app").info("odd", error=ValueError("why"), raw=b"\xff", keys={"a"})
    line = lines(out)[0]
    assert (line["error"], line["raw"], line["keys"]) == ("why", "\\xff", ["a"])


def test_a_request_line_has_every_field_and_leaves_out_what_is_unknown(out: io.StringIO) -> None:
    access_line(
        method="GET", route="/v1/config/<service>/<env>", status=200, seconds=0.00123, address="10.0.0.1",
        subject="pay", topic="pay/prod/main", size=512, request_id="r1",
    )  # fmt: skip
    access_line(method="GET", route="/health", status=200, seconds=0.001, address="10.0.0.1")
    first, second = lines(out)
    assert first["http.route"] == "/v1/config/<service>/<env>"
    assert (first["http.request.method"], first["http.response.status_code"]) == ("GET", 200)
    assert (first["event.duration_ms"], first["http.response.bytes"]) == (1.23, 512)
    assert (first["client.ip"], first["user.id"], first["config.topic"]) == ("10.0.0.1", "pay", "pay/prod/main")
    assert (first["http.request.id"], first["log.logger"]) == ("r1", "access")
    assert "user.id" not in second


def test_a_stream_has_an_opening_and_a_closing_line(out: io.StringIO) -> None:
    stream_opened(transport="sse", address="10.0.0.1", subject="pay")
    stream_closed(transport="sse", address="10.0.0.1", subject="pay", seconds=2, reason="1012")
    opened, closed = lines(out)
    assert (opened["stream.phase"], opened["stream.transport"]) == ("open", "sse")
    assert (closed["stream.phase"], closed["stream.reason"], closed["event.duration_ms"]) == ("close", "1012", 2000)


def test_a_request_line_is_cheap(out: io.StringIO) -> None:
    def per_line() -> float:
        started = time.thread_time()  # of the processor: others may have it meanwhile
        for _ in range(300):
            access_line(
                method="GET", route="/v1/config/<service>/<env>", status=200, seconds=0.001, address="10.0.0.1",
                subject="pay", topic="pay/prod/main", size=4096,
            )  # fmt: skip
        return (time.thread_time() - started) / 300

    assert min(per_line() for _ in range(5)) < 150e-6  # 27 µs here; the bound only catches a slip by an order


def test_a_reader_that_is_gone_does_not_break_who_logs() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers = root.handlers[:]
    root.handlers.clear()
    try:
        configure_logging("info", stream)
        stream.close()
        structlog.get_logger("app").info("into the void")
    finally:
        structlog.reset_defaults()
        logging.captureWarnings(False)
        root.handlers[:] = handlers


def test_lines_and_request_ids_of_threads_do_not_mix(out: io.StringIO) -> None:
    def work(number: int) -> None:
        bind_request(f"req-{number}")
        for _ in range(50):
            structlog.get_logger("app").info("step", number=number)
            logging.getLogger("lib").info("step %s", number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = lines(out)
    assert len(written) == 800
    for line in written:
        number = line.get("number", line["message"].removeprefix("step "))
        assert line["http.request.id"] == f"req-{number}"


GREENLETS = """
from gevent import monkey; monkey.patch_all()
import gevent, structlog
from app.observability import bind_request, clear_request, configure_logging
configure_logging("info")
bind_request("outer")
def serve(number):
    structlog.get_logger("app").info("before", number=number)
    bind_request(f"req-{number}")
    gevent.sleep(0.01)
    structlog.get_logger("app").info("after", number=number)
    clear_request()
    structlog.get_logger("app").info("cleared", number=number)
gevent.joinall([gevent.spawn(serve, number) for number in range(20)])
"""


def test_request_ids_of_greenlets_do_not_mix() -> None:
    done = subprocess.run([sys.executable, "-c", GREENLETS], capture_output=True, check=True, text=True)
    written = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(written) == 60
    for line in written:
        expected = f"req-{line['number']}" if line["message"] == "after" else None
        assert line.get("http.request.id") == expected
