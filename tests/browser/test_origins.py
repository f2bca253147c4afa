"""What a page may ask and see across origins by its browser's judgement, and that a page from elsewhere may nothing."""

from __future__ import annotations

from typing import Any

import pytest

from devstack.server import Server
from tests.browser.pages import AppPage
from tests.cluster.clients import samples
from tests.cluster.stack import Stack
from tests.support import eventually

TOPIC = {"open/prod/main": None}
#: Whatever a page may want to send; all but Accept make the browser ask beforehand.
ASKED = {
    "If-None-Match": '"none"',
    "Last-Event-ID": "1-0123abcd.1;00",
    "X-Config-Instance": "page-1",
    "X-Config-Rev": "1-0123abcd.0",
    "X-Request-ID": "asked-by-a-page",
}


@pytest.fixture(scope="module")
def token(stack: Stack, server: Server) -> str:
    stack.origin.write({"open.yml": "n: 0\n"})
    stack.refresh(server)
    return stack.token("open")


def denials(server: Server) -> float:
    return sum(value for name, value in samples(server).items() if name.startswith("config_server_denials_total{"))


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/v1/tickets", "POST", 201),
        ("/v1/acks", "POST", 400),
        ("/v1/config/open/prod", "GET", 200),
        ("/v1/config/open/staging?wait=0", "GET", 200),
        ("/v1/events", "GET", 400),
    ],
)
def test_a_preflight_lets_a_page_send_all_that_the_interface_takes(
    page: AppPage, token: str, path: str, method: str, status: int
) -> None:
    json_type = {"Content-Type": "application/json"} if method == "POST" else {}
    answer = page.ask(path, token, method, headers=ASKED | json_type)
    assert answer.status == status, answer.text
    assert answer.headers["x-request-id"] == ASKED["X-Request-ID"]


def test_the_browser_asks_before_it_sends_a_token(page: AppPage, server: Server, token: str) -> None:
    page.ticket(token)
    names = ("http.request.method", "http.response.status_code")
    lines = [line for line in server.log_lines() if line.get("http.route") == "/v1/tickets"]
    let_in = [asked for line in lines if (asked := tuple(line[name] for name in names))[1] < 300]
    assert let_in[:2] == [("OPTIONS", 204), ("POST", 201)]


@pytest.mark.parametrize(
    "more", [{"headers": {"X-Other": "1"}}, {"method": "PUT"}, {"method": "DELETE"}, {"credentials": "include"}]
)
def test_a_page_may_send_nothing_else(page: AppPage, token: str, more: dict[str, Any]) -> None:
    assert page.ask("/v1/config/open/prod", token, **more).status == 0


def test_a_page_sees_the_headers_that_it_works_with(page: AppPage, token: str) -> None:
    answer = page.ask("/v1/config/open/prod", token)
    assert answer.status == 200
    assert {"etag", "x-config-version", "x-config-rev", "x-request-id"} <= set(answer.headers)
    again = page.ask("/v1/config/open/prod", token, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status, again.text) == (304, "")
    assert again.headers["x-config-rev"] == answer.headers["x-config-rev"]


def test_a_page_sees_that_something_is_stale(stack: Stack, server: Server, page: AppPage) -> None:
    for content in ("n: 1\n", "n: [\n"):
        stack.origin.write({"bad.yml": content})
        stack.refresh(server)
    answer = page.ask("/v1/config/bad/prod", stack.token("bad"))
    assert answer.headers["x-config-stale"].startswith("invalid;")


def test_a_page_sees_when_to_come_back_and_why_it_was_refused(page: AppPage, token: str) -> None:
    instance = {"X-Config-Instance": "a page with many tabs"}
    streams = [page.events(page.ticket(token), TOPIC, instance) for _ in range(4)]
    for stream in streams:
        stream.frames("sync")
    fifth = page.events(page.ticket(token), TOPIC, instance)
    assert fifth.ended() == "end"
    assert fifth.record["status"] == 429
    assert int(fifth.record["headers"]["retry-after"]) > 0
    assert page.ask("/v1/config/open/prod").status == 401


def test_a_page_from_elsewhere_gets_nothing(foreign_page: AppPage, page: AppPage, server: Server, token: str) -> None:
    for path, method in (("/v1/tickets", "POST"), ("/v1/acks", "POST"), ("/v1/config/open/prod", "GET")):
        before = len(server.log_lines())
        assert foreign_page.ask(path, token, method).status == 0
        methods = {line.get("http.request.method") for line in server.log_lines()[before:]}
        assert method not in methods, "the browser was not to send it"
    assert foreign_page.ask("/health/ready").status == 0


def test_a_page_from_elsewhere_opens_no_stream_with_somebody_elses_ticket(
    foreign_page: AppPage, page: AppPage, server: Server, token: str
) -> None:
    before = denials(server)
    for opened in (
        foreign_page.socket(page.ticket(token), {}),
        foreign_page.events(page.ticket(token), TOPIC),
        foreign_page.source(page.ticket(token), TOPIC),
    ):
        assert opened.ended() in (1006, "TypeError: Failed to fetch", "closed")
        assert opened.record["frames"] == []
    eventually(lambda: denials(server) >= before + 3)
