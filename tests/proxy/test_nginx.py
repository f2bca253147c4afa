"""What an nginx with gzip and its usual buffering lets through: everything, at once, and as it is."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import httpx
import pytest

from devstack.server import ROOT, Server
from tests.cluster.clients import (
    Client,
    Door,
    EventClient,
    PollClient,
    WebSocketClient,
    arrived,
    ask,
    bearer,
    streams_of,
)
from tests.cluster.stack import Stack
from tests.proxy.nginx import CONFIGURATION, Nginx
from tests.support import eventually

PAY = {"pay/prod": None}
#: Far below the heartbeat of an hour: whatever is later was held back.
PROMPT = 20


@pytest.fixture
def change(stack: Stack, server: Server) -> Callable[[], str]:
    """Push another `n`; the commit, which the server has installed."""
    numbers = count(time.time_ns())

    def push() -> str:
        commit = stack.origin.write({"pay.yml": f"n: {next(numbers)}\n"})
        stack.refresh(server)
        return commit

    return push


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """What is open until the end of the test."""
    with ExitStack() as closing:
        yield closing


def test_first_frames_and_changes_arrive_at_once(
    nginx: Nginx, token: str, change: Callable[[], str], opened: ExitStack
) -> None:
    clients: list[Client] = [WebSocketClient(nginx, token, PAY), EventClient(nginx, token, PAY)]
    clients.append(PollClient(nginx, token, "pay/prod"))
    for client in clients:
        opened.callback(client.close)
    eventually(lambda: all(client.held() for client in clients), timeout=PROMPT)
    for _ in range(2):
        arrived(clients, change(), timeout=PROMPT)
    for client in clients:
        client.check()


def test_who_leaves_gives_its_place_back_at_once(nginx: Nginx, server: Server, token: str, opened: ExitStack) -> None:
    eventually(lambda: streams_of(server) == 0, timeout=PROMPT)
    leaving: list[Client] = [WebSocketClient(nginx, token, PAY), EventClient(nginx, token, PAY)]
    for client in leaving:
        opened.callback(client.close)
    eventually(lambda: streams_of(server) == 2, timeout=PROMPT)
    for client in leaving:
        client.close()
    eventually(lambda: streams_of(server) == 0, timeout=PROMPT)


def test_an_event_stream_is_neither_compressed_nor_kept(nginx: Nginx, token: str, opened: ExitStack) -> None:
    client = EventClient(nginx, token, PAY, headers={"Accept-Encoding": "gzip"})
    opened.callback(client.close)
    eventually(client.held, timeout=PROMPT)
    assert client.response.headers["Content-Encoding"] is None
    assert client.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert client.response.headers["Cache-Control"] == "no-store, private, no-transform"


def test_a_read_may_be_compressed_and_its_weakened_etag_still_counts(
    nginx: Nginx, token: str, change: Callable[[], str]
) -> None:
    answer = ask(nginx, "/v1/config/pay/prod", token)
    assert (answer.status_code, answer.headers["Content-Encoding"]) == (200, "gzip")
    tag = {"If-None-Match": answer.headers["ETag"]}
    assert tag["If-None-Match"].startswith("W/")
    assert ask(nginx, "/v1/config/pay/prod", token, headers=tag).status_code == 304
    version = change()
    news = ask(nginx, "/v1/config/pay/prod?wait=20", token, headers=tag)
    assert (news.status_code, news.json()["version"]) == (200, version)


@pytest.mark.parametrize("given", [None, "198.51.100.7"])
def test_both_logs_name_the_request_alike_and_no_client_names_its_own_address(
    nginx: Nginx, server: Server, token: str, given: str | None
) -> None:
    headers = {"X-Forwarded-For": given, "Forwarded": f"for={given}", "X-Real-IP": given} if given else {}
    answer = ask(nginx, "/v1/config/pay/prod", token, headers={**headers, "X-Request-ID": "chosen-by-a-client"})
    name = answer.headers["X-Request-ID"]
    assert name != "chosen-by-a-client"
    (line,) = [line for line in server.log_lines() if line.get("http.request.id") == name]
    assert line["client.ip"] == "127.0.0.1"
    (said,) = eventually(lambda: [line for line in nginx.access_log.read_text().splitlines() if name in line])
    assert said.startswith("127.0.0.1 [")
    assert "GET /v1/config/pay/prod 200 " in said


@contextlib.contextmanager
def following(door: Door, query: str, **options: Any) -> Iterator[httpx.Response]:
    """An event stream from which the first `sync` has been read."""
    verify = options.pop("verify", True)
    with (
        httpx.Client(trust_env=False, verify=verify, timeout=PROMPT) as client,
        client.stream("GET", f"{door.url}/v1/events?{query}", **options) as answer,
    ):
        assert answer.status_code == 200
        assert "event: sync" in answer.iter_lines()
        yield answer


def test_a_ticket_in_an_address_is_not_in_the_log_of_nginx(nginx: Nginx, token: str) -> None:
    ticket = ask(nginx, "/v1/tickets", token, "POST").json()["ticket"]
    with following(nginx, f"topic=pay/prod&ticket={ticket}") as answer:
        name = answer.headers["X-Request-ID"]
    line = eventually(lambda: [line for line in nginx.access_log.read_text().splitlines() if name in line])
    assert "GET /v1/events 200 " in line[0]
    assert ticket not in nginx.access_log.read_text()


def test_streams_go_through_tls(nginx: Nginx, token: str, opened: ExitStack) -> None:
    trust = ssl.create_default_context(cafile=nginx.certificate)
    client = WebSocketClient(nginx.tls, token, PAY, ssl=trust)
    opened.callback(client.close)
    eventually(client.held, timeout=PROMPT)
    client.check()
    with following(nginx.tls, "topic=pay/prod", headers=bearer(token), verify=trust):
        pass


def test_the_documentation_shows_the_configuration_that_these_tests_run() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert f"```nginx\n{CONFIGURATION.read_text()}```" in page
