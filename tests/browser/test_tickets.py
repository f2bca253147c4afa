"""A page's ticket: good once, and written down nowhere."""

from __future__ import annotations

import pytest

from devstack.server import Server
from tests.browser.pages import AppPage, Stream
from tests.cluster.clients import data_of, files_of
from tests.cluster.stack import Stack
from tests.support import eventually

TOPIC = {"ticketed/prod/main": None}


@pytest.fixture(scope="module")
def token(stack: Stack, server: Server) -> str:
    stack.origin.write({"ticketed.yml": "n: 0\n"})
    stack.refresh(server)
    return stack.token("ticketed")


def opened(page: AppPage, way: str, ticket: str) -> Stream:
    ways = {"socket": page.socket, "events": page.events, "source": page.source}
    return ways[way](ticket, TOPIC)


@pytest.mark.parametrize("first", ["socket", "events", "source"])
def test_a_used_ticket_opens_nothing(page: AppPage, token: str, first: str) -> None:
    ticket = page.ticket(token)
    stream = opened(page, first, ticket)
    stream.frames("sync")
    ends = []
    for second in ("events", "source"):
        again = opened(page, second, ticket)
        ends.append((again.ended(), again.record["status"], again.record["frames"]))
    socket = page.socket(ticket, {})
    assert (socket.ended(), socket.record["frames"]) == (1006, [])
    assert ends == [("end", 401, []), ("closed", None, [])]
    assert stream.record["ended"] is None


def test_no_ticket_is_written_down(page: AppPage, server: Server, token: str) -> None:
    for way in ("socket", "events", "source"):
        stream = opened(page, way, page.ticket(token))
        stream.frames("sync")
        stream.leave()
        refused = page.source(page.tickets[-1], TOPIC)
        assert refused.ended() == "closed"
    page.ask(f"/v1/config/ticketed/prod?ticket={page.ticket(token)}")
    page.ask(f"/nowhere?ticket={page.ticket(token)}")
    trail = data_of(server) / "audit"
    eventually(lambda: "/v1/events" in "".join(path.read_text() for path in trail.glob("*.jsonl")))
    written = b"".join([server.log.read_bytes(), *files_of(server).values()])
    assert b"ticketed" in written
    assert [ticket for ticket in page.tickets if ticket.encode() in written] == []
