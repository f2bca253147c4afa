"""A push reaches every client of every worker within a second, whichever way the word of it came."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import pytest

from devstack.server import Server
from tests.cluster.clients import EventClient, WebSocketClient, arrived, ask, everywhere, on_each_worker
from tests.cluster.promises import last
from tests.cluster.stack import Stack
from tests.support import eventually

ANNOUNCERS: dict[str, Callable[[Stack, Server], object]] = {
    "refresh": lambda stack, server: stack.refresh(server),
    "webhook": lambda stack, server: stack.hook(server),
}


@pytest.mark.parametrize("announcer", ANNOUNCERS)
def test_a_push_reaches_every_client_of_both_workers_within_a_second(
    shared: Stack, duo: Server, announcer: str
) -> None:
    service = f"push-{announcer}"
    token = shared.token(service)
    shared.origin.write({f"{service}.yml": "n: 0\n"})
    shared.refresh(duo)
    with everywhere(duo, token, f"{service}/prod") as clients:
        assert len({(client.kind, client.worker) for client in clients}) == 6
        waits: list[float] = []
        for number in (1, 2, 3):
            version = shared.origin.write({f"{service}.yml": f"n: {number}\n"})
            ANNOUNCERS[announcer](shared, duo)
            answered = time.monotonic()
            held = arrived(clients, version)
            waits.append(last(held, answered))
            assert len({(each.etag, each.rev) for each in held}) == 1
            assert all(each.doc == {"log": "info", "n": number} for each in held)
            answers = [ask(duo, f"/v1/config/{service}/prod", token) for _ in range(6)]
            told = {
                (answer.json()["etag"], answer.headers["X-Config-Rev"], answer.json()["version"]) for answer in answers
            }
            assert told == {(held[0].etag, held[0].rev, version)}
        assert median(waits) < 1


def test_a_client_that_comes_back_with_what_it_holds_is_told_nothing_but_sync(shared: Stack, duo: Server) -> None:
    token = shared.token("resume")
    shared.origin.write({"resume.yml": "n: 0\n"})
    shared.refresh(duo)
    topic = "resume/prod/main"
    etag = ask(duo, "/v1/config/resume/prod", token).json()["etag"]
    with (
        on_each_worker(duo, lambda: WebSocketClient(duo, token, {topic: etag})) as sockets,
        on_each_worker(duo, lambda: EventClient(duo, token, {topic: etag})) as events,
    ):
        for told in [*(client.told for client in sockets), *(client.told for client in events)]:
            eventually(partial(told.of, "sync"))
            assert [frame["type"] for _, frame in told.frames] == ["hello", "subscribed", "sync"]
            assert told.of("subscribed")[0]["mode"] == "none"
