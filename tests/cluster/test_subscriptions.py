"""What a client may follow on one connection: many topics, fewer again, and what it says that it holds of them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from devstack.server import Server
from tests.cluster.clients import EventClient, Refused, WebSocketClient, ask, on_each_worker
from tests.cluster.stack import Stack
from tests.support import eventually

MANY = 200


@pytest.fixture
def many(shared: Stack, duo: Server) -> tuple[Stack, Server, str]:
    shared.origin.write({"many.yml": "n: 0\n"})
    shared.refresh(duo)
    return shared, duo, shared.token("many")


def topics(count: int) -> dict[str, str | None]:
    return {f"many/e{number}": None for number in range(count)}


def kinds(client: WebSocketClient | EventClient, since: int = 0) -> list[str]:
    return [frame["type"] for _, frame in client.told.frames[since:]]


def test_two_hundred_topics_are_told_together_and_one_more_is_refused(many: tuple[Stack, Server, str]) -> None:
    stack, server, token = many
    with (
        contextlib.closing(WebSocketClient(server, token, topics(MANY))) as socket,
        contextlib.closing(EventClient(server, token, topics(MANY))) as events,
    ):
        clients: list[WebSocketClient | EventClient] = [socket, events]
        for client in clients:
            eventually(lambda: len(client.held()) == MANY)  # noqa: B023 - done within the round
            assert kinds(client) == ["hello", "subscribed", *["change"] * MANY, "sync"]
        socket.subscribe({"many/e200": None})
        (error,) = eventually(lambda: socket.told.of("error"))
        assert error == {"type": "error", "code": "too-many-topics", "topic": "many/e200", "retry": False}
        seen = [len(client.told.frames) for client in clients]
        version = stack.origin.write({"many.yml": "n: 1\n"})
        stack.refresh(server)
        for client, since in zip(clients, seen, strict=True):
            eventually(lambda: {held.version for held in client.held().values()} == {version})  # noqa: B023
            assert kinds(client, since) == [*["change"] * MANY, "sync"], "all of one revision, and no other frame"
            client.check()
        socket.send({"type": "unsubscribe", "topics": ["many/e0/main"]})
        socket.subscribe({"many/e200": None})
        eventually(lambda: "many/e200/main" in socket.held())


def test_an_event_stream_of_one_topic_more_is_refused(many: tuple[Stack, Server, str]) -> None:
    _, server, token = many
    with pytest.raises(Refused) as refused:
        EventClient(server, token, topics(MANY + 1))
    assert refused.value.status == 400


def test_what_is_not_followed_any_more_is_not_told(many: tuple[Stack, Server, str]) -> None:
    stack, server, token = many
    with contextlib.closing(WebSocketClient(server, token, topics(3))) as client:
        eventually(lambda: len(client.held()) == 3)
        client.send({"type": "unsubscribe", "topics": ["many/e1/main", "many/never/main"]})
        client.subscribe({"many/e0": client.held()["many/e0/main"].etag})
        eventually(lambda: len(client.told.of("subscribed")) == 2)  # so the former has been seen to
        seen = len(client.told.frames)
        version = stack.origin.write({"many.yml": "left: 1\n"})
        stack.refresh(server)
        eventually(lambda: client.held()["many/e0/main"].version == version)
        eventually(lambda: kinds(client, seen)[-1] == "sync")
        assert {frame["topic"] for _, frame in client.told.frames[seen:-1]} == {"many/e0/main", "many/e2/main"}
        client.check()


@pytest.mark.parametrize(
    "since", ["1-deadbeef.1", "9-deadbeef.999999", "of no form at all", "that of the last sync", None]
)
def test_whatever_a_client_says_of_since_its_etags_alone_are_compared(
    many: tuple[Stack, Server, str], since: str | None
) -> None:
    stack, server, token = many
    with on_each_worker(server, lambda: WebSocketClient(server, token, topics(2))) as formers:
        eventually(lambda: all(len(former.held()) == 2 for former in formers))
        held = {topic: each.etag for topic, each in formers[0].held().items()}
        since = formers[0].told.of("sync")[-1]["rev"] if since == "that of the last sync" else since
        version = stack.origin.write({"many-e1.yml": f"since: {since}\n"})
        stack.refresh(server)
        eventually(lambda: all(former.held()["many/e1/main"].version == version for former in formers))
    standing = ask(server, "/v1/config/many/e1", token).json()
    assert standing["version"] == version
    with contextlib.closing(WebSocketClient(server, token, {})) as client:
        wanted = [{"name": topic, "etag": etag} for topic, etag in held.items()]
        said: dict[str, Any] = {"type": "subscribe", "topics": wanted, "since": since}
        client.send(said)
        eventually(lambda: "sync" in kinds(client))
        assert kinds(client) == ["hello", "subscribed", "change", "sync"]
        assert client.told.of("subscribed")[0]["mode"] == "changes"
        assert client.told.of("change")[0]["topic"] == "many/e1/main"
        seen = len(client.told.frames)
        wanted = [{"name": "many/e0", "etag": held["many/e0/main"]}, {"name": "many/e1", "etag": standing["etag"]}]
        client.send({**said, "topics": wanted})
        eventually(lambda: len(client.told.of("sync")) == 2)
        assert kinds(client, seen) == ["subscribed", "sync"]
        assert client.told.of("subscribed")[1]["mode"] == "none"
