"""The short way of reads and the way through Flask, asked for the same side by side, without a network between."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from app.blueprints.hot import HotReads
from app.blueprints.http import ReadLines
from tests.serving import Serving


@dataclass(frozen=True)
class Seen:
    """An answer as a WSGI server has it."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)


@dataclass
class TwoWays:
    """`hot` answers itself what it can; what it hands on is counted in `handed_on`."""

    serving: Serving
    hot: Callable[..., Iterable[bytes]] = field(init=False)
    handed_on: int = 0
    limits: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        services = self.serving.server.services
        installed = self.serving.server.app.wsgi_app
        assert isinstance(installed, HotReads)
        self._flask = installed.ordinary

        def counting(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            self.handed_on += 1
            return self._flask(environ, start_response)

        port = services.settings.metrics
        self.hot = HotReads(
            counting,
            services.engine,
            services.access,
            services.metrics,
            ReadLines(),
            elsewhere=port if port.isdigit() else None,
            **self.limits,
        )

    def by_hot(self, environ: Mapping[str, Any]) -> tuple[Seen, bool]:
        """Its answer, and whether it gave it itself."""
        before = self.handed_on
        return asked(self.hot, environ), self.handed_on == before

    def by_flask(self, environ: Mapping[str, Any]) -> Seen:
        return asked(self._flask, environ)


def asked(application: Callable[..., Iterable[bytes]], environ: Mapping[str, Any]) -> Seen:
    sent: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        sent.append((status, list(headers)))

    chunks = application({**environ, "wsgi.input": io.BytesIO()}, start_response)
    body = b"".join(chunks)
    close = getattr(chunks, "close", None)
    if close is not None:
        close()
    return Seen(*sent[-1], body)


def environ_of(
    path: str, query: str = "", *, method: str = "GET", port: str = "8000", **headers: str | None
) -> dict[str, Any]:
    """As gunicorn makes it. `headers` by their names with underscores; None: it is not sent."""
    given = {"Host": "localhost", "X_Request_ID": "asked-1", **headers}
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": path,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "gunicorn",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "4711",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        **{f"HTTP_{name.upper()}": value for name, value in given.items() if value is not None},
    }


@contextmanager
def counting_requests(serving: Serving) -> Iterator[dict[str, float]]:
    """How many requests each series of the metrics has counted inside the block; filled in at its end."""
    metrics = serving.server.services.metrics
    before = _counted(metrics.render()[0])
    found: dict[str, float] = {}
    yield found
    found |= {name: value - before.get(name, 0) for name, value in _counted(metrics.render()[0]).items()}


def _counted(text: bytes) -> dict[str, float]:
    """Without the sums and buckets of durations, which differ by what a request takes."""
    kinds = ("config_server_http_request", "config_server_denials")  # others count what threads do meanwhile
    lines = [line.rpartition(" ") for line in text.decode().splitlines() if line.startswith(kinds)]
    times = ("_sum", "_bucket", "_created")
    return {name: float(value) for name, _, value in lines if not name.partition("{")[0].endswith(times)}
