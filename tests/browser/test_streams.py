"""What a page is told over a WebSocket, over `fetch` and over the browser's own EventSource, and what it says back."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from devstack.server import Server
from tests.browser.conftest import NewPage
from tests.browser.pages import AppPage, Stream
from tests.cluster.clients import Frame
from tests.cluster.stack import Stack
from tests.support import eventually


@dataclass(frozen=True, slots=True)
class Followed:
    """A service of one test: its topic, and a token that reads it."""

    topic: str
    token: str


@pytest.fixture
def service(request: pytest.FixtureRequest, stack: Stack, server: Server) -> Followed:
    """It stands at `n: 0`."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:100]
    push(stack, server, name, 0)
    return Followed(f"{name}/prod/main", stack.token(name))


def push(stack: Stack, server: Server, topic: str, number: int) -> None:
    """The service's `n`, which one worker has installed afterwards."""
    stack.origin.write({f"{topic.split('/')[0]}.yml": f"n: {number}\n"})
    stack.refresh(server)


def reaches(streams: list[Stream], topic: str, number: int) -> None:
    eventually(lambda: [stream.doc(topic) for stream in streams] == [{"log": "info", "n": number}] * len(streams))


def beats(stream: Stream) -> None:
    """It is told of its heart although nothing changes."""
    before = len(stream.told.of("sync"))
    eventually(lambda: len(stream.told.of("sync")) > before)


def closed(server: Server) -> set[str]:
    """The connections whose end is in the log."""
    streams = [line for line in server.log_lines() if line["message"] == "stream"]
    return {line["connection"] for line in streams if line["stream.phase"] == "close"}


def only(frames: list[Frame], kind: str) -> Frame:
    (found,) = [frame for frame in frames if frame["type"] == kind]
    return found


def test_a_page_is_told_the_configuration_and_each_change_in_three_ways(
    stack: Stack, server: Server, page: AppPage, service: Followed
) -> None:
    topics = {service.topic: None}
    socket = page.socket(page.ticket(service.token), topics)
    streams = [
        socket,
        page.events(page.ticket(service.token), topics),
        page.source(page.ticket(service.token), topics),
    ]
    reaches(streams, service.topic, 0)
    assert socket.record["protocol"] == "cfg.v1"
    for number in (1, 2):
        push(stack, server, service.topic, number)
        reaches(streams, service.topic, number)
    for stream in streams:
        beats(stream)
        stream.told.check()
        assert [change["doc"]["n"] for change in stream.told.of("change")] == [0, 1, 2]
        assert stream.record["ended"] is None


def test_a_page_that_comes_back_is_told_only_what_it_does_not_hold(
    stack: Stack, server: Server, page: AppPage, service: Followed
) -> None:
    first = page.events(page.ticket(service.token), {service.topic: None})
    change = only(first.frames("sync"), "change")
    first.leave()
    last_id = {"Last-Event-ID": first.record["ids"][-1]}

    again = page.events(page.ticket(service.token), {service.topic: None}, last_id)
    assert "change" not in {frame["type"] for frame in again.frames("sync")}
    again.leave()
    socket = page.socket(page.ticket(service.token), {service.topic: change["etag"]})
    assert only(socket.frames("sync"), "subscribed")["mode"] == "none"

    push(stack, server, service.topic, 1)
    eventually(lambda: socket.doc(service.topic) == {"log": "info", "n": 1})
    late = page.events(page.ticket(service.token), {service.topic: None}, last_id)
    assert only(late.frames("sync"), "change")["doc"]["n"] == 1
    late.leave()
    held = page.source(page.ticket(service.token), {service.topic: socket.told.held()[service.topic].etag})
    assert "change" not in {frame["type"] for frame in held.frames("sync")}


def rejection(frames: list[Frame]) -> Frame:
    """What a page has to say against the one change in these frames."""
    change = only(frames, "change")
    named = {"topic": change["topic"], "etag": change["etag"], "rev": frames[-1]["rev"]}
    return {**named, "status": "rejected", "reason": "n is too small"}


def kept_in(stack: Stack, server: Server, name: str) -> dict[str, Frame]:
    """A hash of JSON texts that the workers share."""
    with stack.valkey.client as client:
        found = client.hgetall(f"{{cfg:{server.settings['NAMESPACE']}}}:1:{name}")
    return {str(field): json.loads(text) for field, text in found.items()}


def test_a_page_says_beside_its_event_stream_what_it_did_with_a_change(
    stack: Stack, server: Server, page: AppPage, service: Followed
) -> None:
    events = page.events(page.ticket(service.token), {service.topic: None}, {"X-Config-Instance": "page-1"})
    frames = events.frames("sync")
    conn, said = frames[0]["conn"], rejection(frames)
    headers, body = {"Content-Type": "application/json"}, json.dumps({"conn": conn, **said})
    eventually(lambda: page.ask("/v1/acks", service.token, "POST", headers=headers, body=body).status == 204)
    assert said.items() <= kept_in(stack, server, "streams:acks")[f"{conn} {service.topic}"].items()


def test_a_page_says_within_its_websocket_what_it_did_with_a_change(
    stack: Stack, server: Server, page: AppPage, service: Followed
) -> None:
    socket = page.socket(page.ticket(service.token), {service.topic: None}, client={"instance": "page-2"})
    frames = socket.frames("sync")
    conn, said = frames[0]["conn"], rejection(frames)
    socket.say(type="ack", **said)
    eventually(lambda: kept_in(stack, server, "streams").get(conn, {}).get("acks"))
    record = kept_in(stack, server, "streams")[conn]
    assert record["instance"] == "page-2"
    assert said.items() <= {**record["acks"][service.topic], "topic": service.topic}.items()


def test_a_frame_error_and_a_broken_connection_are_told_apart_by_an_event_source(
    stack: Stack, server: Server, page: AppPage, service: Followed
) -> None:
    stack.origin.write({"broken.yml": "n: [\n"})
    stack.refresh(server)
    token = stack.issuer.token(scope="config:read:broken")
    source = page.source(page.ticket(token), {"broken/prod": None})
    assert only(source.frames("error"), "error")["topic"] == "broken/prod/main"
    assert source.record["ended"] is None
    refused = page.source(page.ticket(service.token), {"broken/prod": None})
    assert refused.ended() == "closed"
    assert refused.record["frames"] == []


def test_the_streams_of_a_page_end_with_it(new_page: NewPage, server: Server, service: Followed) -> None:
    going = new_page()
    topics = {service.topic: None}
    streams = [going.socket(going.ticket(service.token), topics), going.source(going.ticket(service.token), topics)]
    connections = {stream.frames("sync")[0]["conn"] for stream in streams}
    going.close()
    eventually(lambda: connections <= closed(server))
