"""Traces, as a real receiver of OTLP over HTTP gets them; and nothing of it where nobody asks for traces."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.processes import free_port
from devstack.valkey import Valkey
from tests.serving import BRISK, serving, serving_origin
from tests.valkeys import valkey

__all__ = ["valkey"]

ROOT = Path(__file__).resolve().parent.parent.parent
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
BY_THE_BUS = replace(BRISK, follow=600.0, head_check=600.0)
SECRET, VALUE = "canary-of-a-secret", "canary-of-a-value"


class Receiver(ThreadingHTTPServer):
    """Takes POST /v1/traces."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> list[Span]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span for request in requests for of in request.resource_spans for sc in of.scope_spans for span in sc.spans
        ]

    def services(self) -> set[str]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return {
            each.value.string_value
            for request in requests
            for of in request.resource_spans
            for each in of.resource.attributes
            if each.key == "service.name"
        }


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/traces"
        self.server.bodies.append(body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def exported_to(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """And waited for, as the machine may be busy."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "30")


def attributes(span: Span) -> dict[str, str]:
    return {each.key: each.value.string_value or str(each.value.int_value) for each in span.attributes}


def test_a_request_is_seen_with_all_that_is_done_for_it_and_with_nothing_secret(
    receiver: Receiver, tmp_path: Path, issuer: LocalIssuer, bao: Bao, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported_to(receiver, monkeypatch)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    bao.put("services/traced/prod/db", {"password": SECRET})
    files = {"traced.yml": f"plain: {VALUE}\npassword: ${{vault:kv/services/traced/prod/db#password}}\n"}
    token = issuer.token(scope="config:read:*/*")
    with serving(tmp_path, issuer, files, vault=bao) as server:
        called = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "ask-1"}
        assert server.get("traced/prod", token=token, headers=called).status_code == 200
        assert server.get("traced/prod", token="no token").status_code == 401
        assert server.get("traced/qa", token=token).status_code == 422
        server.push({"traced.yml": "plain: other\n"})

    spans = receiver.spans()
    mine = {span.name: span for span in spans if span.trace_id.hex() == TRACE}
    root = mine["GET /v1/config/<service>/<env>"]
    assert root.parent_span_id.hex() == PARENT
    assert attributes(root) == {"http.request.id": "ask-1", "http.response.status_code": "200"}
    assert {"config.resolve", "config.parse", "vault.read", "config.render"} <= mine.keys()
    ids = {span.span_id for span in mine.values()}
    assert all(span.parent_span_id in ids for span in mine.values() if span is not root)
    assert {"git.fetch", "config.push", "config.tell", "POST /v1/admin/refresh"} <= {span.name for span in spans}
    failed = [span for span in spans if span.name == "config.resolve" and span.status.code]
    assert [attributes(span)["error.type"] for span in failed] == ["SecretRefused"]
    assert receiver.services() == {"config-server"}

    told = b"".join(receiver.bodies)
    for secret in (SECRET, VALUE, token, "services/traced", issuer.url, str(tmp_path)):
        assert secret.encode() not in told


@pytest.mark.slow
def test_what_a_request_sets_off_on_other_hosts_is_in_its_trace_down_to_the_streams(
    receiver: Receiver, tmp_path: Path, issuer: LocalIssuer, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported_to(receiver, monkeypatch)
    (tmp_path / "key").write_text("k" * 32)
    # Hosts hear of a move by the bus, and not by a look at the disk or at Redis that may be faster.
    settings: dict[str, Any] = {"redis_url": valkey.url, "key_file": tmp_path / "key", "timings": BY_THE_BUS}
    with ExitStack() as stack:
        first = stack.enter_context(serving(tmp_path / "first", issuer, {"pay.yml": "a: 1\n"}, **settings))
        second = stack.enter_context(serving_origin(tmp_path / "second", issuer, first.origin, **settings))
        url, bearer = f"{second.server.url}/v1/events?topic=pay/prod/main", f"Bearer {second.token()}"
        stream = stack.enter_context(httpx.stream("GET", url, headers={"Authorization": bearer}, timeout=30))
        told = stream.iter_lines()
        assert any(line == "event: sync" for line in told)
        commit = first.origin.write({"pay.yml": "a: 2\n"})
        called, token = {"traceparent": f"00-{TRACE}-{PARENT}-01"}, first.token("config:write")
        assert first.ask("/v1/admin/refresh", method="POST", token=token, headers=called).status_code == 200
        assert any(commit in line for line in told)

    mine = [span for span in receiver.spans() if span.trace_id.hex() == TRACE]
    names = Counter(span.name for span in mine)
    assert (names["config.push"], names["config.tell"]) == (2, 2)  # each host installs and tells for itself
    assert names["git.fetch"] >= 2
    (root,) = (span for span in mine if span.parent_span_id.hex() == PARENT)
    assert {span.parent_span_id for span in mine if span.name in {"git.fetch", "config.push", "config.tell"}} == {
        root.span_id
    }
    assert sorted(attributes(span)["config.woken"] for span in mine if span.name == "config.tell") == ["0", "1"]
    assert all(span.end_time_unix_nano >= span.start_time_unix_nano > 0 for span in mine)


def test_a_receiver_that_is_away_holds_nobody_up(
    tmp_path: Path, issuer: LocalIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with serving(tmp_path, issuer, {"pay.yml": "a: 1\n"}) as server:
        assert server.config("pay/prod") == {"a": 1}
        began = time.monotonic()
    assert time.monotonic() - began < 5


@pytest.mark.slow
def test_who_wants_no_traces_imports_nothing_of_them() -> None:
    """redis-py looks for opentelemetry.metrics by itself; what costs is none of its business."""
    costly = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.propagators")
    code = f"import sys, app.embedded; print([name for name in sys.modules if name.startswith({costly})])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_where_the_packages_are_missing_that_is_told_and_nothing_else_happens() -> None:
    code = (
        "import sys; sys.modules['opentelemetry.sdk.trace'] = None\n"
        "from app.observability import configure_logging, is_tracing, span, start_traces\n"
        "configure_logging('info')\n"
        "end = start_traces({'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://127.0.0.1:1'})\n"
        "with span('anything'): assert not is_tracing()\n"
        "end()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "traces.not_installed" in done.stdout
