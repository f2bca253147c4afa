"""The short way for a read that was answered a moment ago: a layer in front of Flask that gives the same answer again.

Most of what a cached read costs is Flask's: contexts, hooks, routing, parsing. What came of it for GET
/v1/config/{service}/{env} is remembered here, and given again where the route would certainly do the same:

- What a request asks for lies in its path, query, Accept and Host: they are the key. Headers that the route reads
  beside them are looked at one by one below. A request with any header that is not in `_KNOWN` goes to Flask.
- Who asks is found anew each time, by the verifier (the token was verified a moment ago and is not revoked), and so is
  what they may see, by the permissions: an answer is remembered for a view, and nobody is given one by a former caller.
- The answer stands as long as the engine says so: nothing was installed since, and Vault need not be asked for any of
  its secrets. A stale one, a long poll or one that depends on the instance is never remembered.
- What has to be told is told by those who tell it of other requests: id, duration, line in the log, the trail.

Whatever is not certain goes to Flask. So nothing is decided here, and without this layer the server is only slower.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeAlias

from flask import Request, g
from prometheus_client import Counter, Histogram

from app.access import Access
from app.blueprints.http import ReadLines, is_instance, request_id
from app.engine import Answer, ConfigEngine, Lasting, Reader, ReadRequest, World
from app.model import Principal, View
from app.observability import AccessLine, Metrics, is_tracing
from app.observability.flask_metrics import route

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    _ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]

_NOTE: Final = "config_server.read"
_ID: Final = "X-Request-ID"
#: Keys that are remembered, how long the texts of one may be together, and the bytes of all bodies: nobody fills the
#: memory with queries, nor with large documents.
_MOST: Final = 4096
_LONGEST: Final = 1024
_BYTES: Final = 64 * 1024 * 1024

#: What the servers put into every request, by themselves.
_OF_SERVERS: Final = (
    "REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING SERVER_NAME SERVER_PORT SERVER_PROTOCOL SERVER_SOFTWARE "
    "REMOTE_ADDR REMOTE_PORT RAW_URI REQUEST_URI wsgi.version wsgi.url_scheme wsgi.input wsgi.input_terminated "
    "wsgi.errors wsgi.multithread wsgi.multiprocess wsgi.run_once wsgi.file_wrapper wsgi.early_hints "
    "gunicorn.socket werkzeug.socket"
)
#: Headers that are looked at here, and those that no part of the server reads of such a request.
_LOOKED_AT: Final = (
    "HOST AUTHORIZATION ACCEPT IF_NONE_MATCH X_REQUEST_ID X_CONFIG_REV X_CONFIG_INSTANCE X_FORWARDED_FOR"
)
_UNREAD: Final = (
    "USER_AGENT ACCEPT_ENCODING ACCEPT_LANGUAGE ACCEPT_CHARSET CONNECTION KEEP_ALIVE CACHE_CONTROL PRAGMA "
    "X_FORWARDED_PROTO X_FORWARDED_HOST X_FORWARDED_PORT X_FORWARDED_SCHEME X_REAL_IP X_SCHEME FORWARDED VIA "
    "TRACEPARENT TRACESTATE BAGGAGE B3 X_B3_TRACEID X_B3_SPANID X_B3_PARENTSPANID X_B3_SAMPLED X_AMZN_TRACE_ID "
    "X_ENVOY_ATTEMPT_COUNT X_ENVOY_EXTERNAL_ADDRESS X_ENVOY_DECORATOR_OPERATION X_ENVOY_PEER_METADATA "
    "X_ENVOY_PEER_METADATA_ID L5D_CLIENT_ID L5D_DST_CANONICAL"
)
_KNOWN: Final = frozenset(_OF_SERVERS.split()) | {f"HTTP_{name}" for name in f"{_LOOKED_AT} {_UNREAD}".split()}

_Key: TypeAlias = tuple[str, str, str | None, str | None]
#: The view, and whether the request had the very entity tag in If-None-Match.
_Variant: TypeAlias = tuple[View, bool]


@dataclass(frozen=True, slots=True)
class _Note:
    """What the route has made of a request, and its answer."""

    service: str
    envs: tuple[str, ...]
    asked: ReadRequest
    answer: Answer
    route: str


@dataclass(frozen=True, slots=True)
class _Page:
    """An answer as the route has sent it. `id_at` is where in `headers` the request's id stands."""

    status: str
    headers: list[tuple[str, str]]
    id_at: int
    body: bytes | None
    tag: str
    rev: str
    view: View
    lasting: Lasting
    line: AccessLine
    durations: Histogram
    total: Counter


@dataclass(frozen=True, slots=True)
class _Place:
    """What is remembered for one key. Service and envs come of the path, so they are those of all its pages."""

    service: str
    envs: tuple[str, ...]
    pages: dict[_Variant, _Page] = field(default_factory=dict)


def note(request: Request, asked: ReadRequest, answer: Answer) -> None:
    """To be called by the route: what it has made of the request."""
    request.environ[_NOTE] = _Note(g.service, g.envs, asked, answer, route(request))


class HotReads:
    """WSGI; thread-safe. `ordinary` is Flask's; `elsewhere` is a port on which there are no reads, if there is one.

    When there are `most` keys, or `most_bytes` of bodies, it begins anew.
    """

    def __init__(
        self,
        ordinary: WSGIApplication,
        engine: ConfigEngine,
        access: Access,
        metrics: Metrics,
        read_lines: ReadLines,
        *,
        elsewhere: str | None = None,
        most: int = _MOST,
        most_bytes: int = _BYTES,
    ) -> None:
        self.ordinary = ordinary
        self._most = most
        self._most_bytes = most_bytes
        self._engine = engine
        self._access = access
        self._metrics = metrics
        self._read_lines = read_lines
        self._elsewhere = elsewhere
        self._places: dict[_Key, _Place] = {}
        self._bytes = 0
        self._world: World | None = None  # whose places they are: nothing of a former one is kept

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started = time.perf_counter()
        if environ["REQUEST_METHOD"] != "GET" or not environ.keys() <= _KNOWN or is_tracing():
            return self.ordinary(environ, start_response)
        if self._elsewhere is not None and environ["SERVER_PORT"] == self._elsewhere:
            return self.ordinary(environ, start_response)
        key = environ["PATH_INFO"], environ["QUERY_STRING"], environ.get("HTTP_ACCEPT"), environ.get("HTTP_HOST")
        place = self._places.get(key)
        if place is not None:
            principal = self._principal(environ.get("HTTP_AUTHORIZATION", ""))
            page = self._page(place, principal, environ) if principal is not None else None
            if principal is not None and page is not None:
                return self._given(page, principal, environ, start_response, started)
        return self._watched(key, environ, start_response)

    def _principal(self, authorization: str) -> Principal | None:
        return self._access.verifier.recall(authorization[7:]) if authorization[:7] == "Bearer " else None

    def _page(self, place: _Place, principal: Principal, environ: WSGIEnvironment) -> _Page | None:
        """What the route would make for this principal, if that is certain."""
        view = self._access.view(principal, place.service, place.envs)
        tag = environ.get("HTTP_IF_NONE_MATCH")
        page = place.pages.get((view, tag is not None)) if view is not None else None
        if page is None or (tag is not None and tag != page.tag):
            return None
        if environ.get("HTTP_X_CONFIG_REV", page.rev) != page.rev:
            return None  # who has seen another may have to wait
        if not is_instance(environ.get("HTTP_X_CONFIG_INSTANCE", "-")):
            return None
        return page if self._engine.stands(page.lasting) else None

    def _given(
        self,
        page: _Page,
        principal: Principal,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        started: float,
    ) -> Iterable[bytes]:
        id_ = request_id(environ.get("HTTP_X_REQUEST_ID"))
        headers = page.headers.copy()
        headers[page.id_at] = (_ID, id_)
        address = environ.get("REMOTE_ADDR") or ""
        if page.body is not None:
            self._engine.read_again(Reader(principal, page.view, id_, address), page.lasting)
        start_response(page.status, headers)
        seconds = time.perf_counter() - started
        page.durations.observe(seconds)
        page.total.inc()
        if self._read_lines.next_has_one():
            page.line.write(seconds=seconds, address=address, subject=principal.subject, request_id=id_)
        return [] if page.body is None else [page.body]

    def _watched(self, key: _Key, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Flask's answer; it is remembered if the route says what it was made of."""
        sent: list[tuple[str, list[tuple[str, str]]]] = []

        def watch(
            status: str, headers: list[tuple[str, str]], exc_info: _ExcInfo | None = None, /
        ) -> Callable[[bytes], object]:
            sent.append((status, headers))
            return start_response(status, headers, exc_info)

        chunks = self.ordinary(environ, watch)
        made: _Note | None = environ.get(_NOTE)
        if made is not None:
            self._remember(key, environ.get("HTTP_IF_NONE_MATCH"), made, *sent[-1])
        return chunks

    @property
    def _is_full(self) -> bool:
        return len(self._places) >= self._most or self._bytes >= self._most_bytes

    def _remember(self, key: _Key, tag: str | None, made: _Note, status: str, headers: list[tuple[str, str]]) -> None:
        code, body = int(status[:3]), made.answer.body
        if code != (200 if tag is None else 304):
            return  # somebody with an old copy; or it failed on its way out
        names = [name for name, _ in headers]
        page_tag = headers[names.index("ETag")][1]
        if tag is not None and tag != page_tag:
            return  # a list of them, or any
        lasting = self._engine.lasting(made.asked, made.answer)
        if lasting is None or sum(map(len, filter(None, key))) > _LONGEST:
            return
        if lasting.world is not self._world or self._is_full:
            self._world, self._places, self._bytes = lasting.world, {}, 0
        place = self._places.setdefault(key, _Place(made.service, made.envs))
        variant = made.asked.view, tag is not None
        replaced = place.pages.get(variant)
        self._bytes += len(body or b"") - len((replaced and replaced.body) or b"")
        place.pages[variant] = _Page(
            status,
            headers.copy(),
            names.index(_ID),
            body,
            page_tag,
            str(made.answer.rev),
            made.asked.view,
            lasting,
            AccessLine(
                method="GET",
                route=made.route,
                status=code,
                topic=made.answer.topic,
                size=len(body or b""),
                sampled=self._read_lines.sampled,
            ),
            *self._metrics.request_series("GET", made.route, code),
        )
