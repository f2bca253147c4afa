"""The Git server gone: the last commit is served and said to be old; without any clone, one is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
import pytest

from devstack.server import Server
from tests.cluster.clients import arrived, ask, everywhere
from tests.cluster.stack import Stack, running
from tests.support import eventually


@contextmanager
def gone(stack: Stack) -> Iterator[None]:
    """The origin cannot be reached within."""
    elsewhere = stack.origin.bare.with_name("elsewhere.git")
    stack.origin.bare.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(stack.origin.bare)


def stale(server: Server, token: str) -> set[str | None]:
    """The reasons in X-Config-Stale, from enough answers to hear every worker."""
    answers = [ask(server, "/v1/config/pay/prod", token) for _ in range(8)]
    assert {answer.status_code for answer in answers} == {200}
    return {(answer.headers.get("X-Config-Stale") or "").partition(";")[0] or None for answer in answers}


@pytest.mark.slow
def test_with_git_gone_both_workers_serve_the_last_commit_and_say_so_until_it_is_back(stack: Stack) -> None:
    stack.origin.write({"pay.yml": "n: 0\n"})
    token = stack.token("pay")
    with running(stack.server(POLL_SECONDS="1")) as server:
        with everywhere(server, token, "pay/prod") as clients, gone(stack):
            eventually(lambda: stale(server, token) == {"git"})
            streams = [client for client in clients if client.kind != "poll"]
            eventually(lambda: all(_last(client) == ("state", ["git"]) for client in streams))
            assert ask(server, "/health").json()["parts"]["git"]["status"] == "degraded"
            assert ask(server, "/health/ready").status_code == 200
            assert ask(server, "/v1/admin/refresh", stack.admin, "POST").status_code == 503
        with everywhere(server, token, "pay/prod") as clients:
            version = stack.origin.write({"pay.yml": "n: 1\n"})
            arrived(clients, version)
            eventually(lambda: stale(server, token) == {None})
        with gone(stack):
            assert server.stop() == 0
            server.start()
            assert stale(server, token) <= {None, "git"}
            assert ask(server, "/v1/config/pay/prod", token).json()["version"] == version
            eventually(lambda: stale(server, token) == {"git"})


def _last(client: object) -> tuple[str, list[str]]:
    change = client.told.of("change")[-1]  # type: ignore[attr-defined]  # both kinds of stream have it
    return change["op"], [each["reason"] for each in change.get("stale", [])]


@pytest.mark.slow
def test_a_server_without_a_clone_answers_503_until_git_appears_and_then_is_ready(stack: Stack) -> None:
    stack.origin.write({"pay.yml": "n: 0\n"})
    token = stack.token("pay")
    with closing(stack.server(POLL_SECONDS="1")) as server:
        with gone(stack):
            server.start(until="/health/live")
            refused = [
                *(ask(server, "/v1/config/pay/prod", token) for _ in range(4)),
                ask(server, "/v1/config/pay/prod/file.txt", token),
                ask(server, "/v1/events?topic=pay/prod", token),
            ]
            for answer in refused:
                assert answer.status_code == 503, answer.text
                assert int(answer.headers["Retry-After"]) > 0
                assert answer.headers["Content-Type"] == "application/problem+json"
            assert ask(server, "/health/live").status_code == 200
            assert ask(server, "/health/ready").status_code == 503
            report: httpx.Response = ask(server, "/health")
            assert (report.status_code, report.json()["parts"]["git"]["status"]) == (200, "down")
        eventually(lambda: ask(server, "/health/ready").status_code == 200)
        eventually(lambda: {ask(server, "/v1/config/pay/prod", token).status_code for _ in range(6)} == {200})
