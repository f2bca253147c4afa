"""What a page sees of its token's end, and how it goes on with a new one."""

from __future__ import annotations

import time

import pytest

from devstack.server import Server
from tests.browser.pages import AppPage
from tests.cluster.stack import Stack
from tests.support import eventually

TOPIC, OTHER = "lasting/prod/main", "second/prod/main"
GRANTS = "config:read:lasting config:read:second"
#: Seconds in which four streams are opened even by a busy browser.
LIFE = 8


@pytest.fixture(scope="module", autouse=True)
def services(stack: Stack, server: Server) -> None:
    stack.origin.write({"lasting.yml": "n: 0\n", "second.yml": "n: 0\n"})
    stack.refresh(server)


@pytest.mark.slow
def test_a_page_is_warned_of_its_tokens_end_and_goes_on_only_with_a_new_one(
    stack: Stack, server: Server, page: AppPage
) -> None:
    short = stack.issuer.token(sub="visitor", scope=GRANTS, lifetime=LIFE)
    end = time.time() + LIFE
    topics = {TOPIC: None}
    ending = page.socket(page.ticket(short), topics)
    events = page.events(page.ticket(short), topics)
    source = page.source(page.ticket(short), topics)
    staying = page.socket(page.ticket(short), topics)
    for stream in (ending, events, source, staying):
        (warned,) = [frame for frame in stream.frames("auth_expiring") if frame["type"] == "auth_expiring"]
        assert 0 < warned["in_ms"] <= 1000 * LIFE
    staying.say(type="auth", token=stack.issuer.token(sub="visitor", scope=GRANTS))

    assert ending.ended() == 4401
    assert time.time() > end - 1, "a token counts in whole seconds"
    assert events.ended() == "end"
    eventually(lambda: source.record["ended"] == "closed")  # its ticket is used: the page has to act
    assert source.record["ends"] == ["reconnecting", "closed"]
    for stream in (ending, events, source):
        assert stream.told.frames[-1][1] | {"retry_ms": 0} == {"type": "goodbye", "code": 4401, "retry_ms": 0}

    stack.origin.write({"lasting.yml": "n: 1\n"})
    stack.refresh(server)
    eventually(lambda: staying.doc(TOPIC) == {"log": "info", "n": 1})
    assert staying.record["ended"] is None


def test_a_new_token_in_band_narrows_and_a_strangers_ends_the_socket(stack: Stack, page: AppPage) -> None:
    token = stack.issuer.token(sub="visitor", scope=GRANTS)
    socket = page.socket(page.ticket(token), {TOPIC: None, OTHER: None})
    socket.frames("sync")
    socket.say(type="auth", token=stack.issuer.token(sub="visitor", scope="config:read:lasting"))
    assert socket.frames("error")[-1] == {"type": "error", "code": "forbidden", "topic": OTHER, "retry": False}
    socket.say(type="auth", token=stack.issuer.token(sub="somebody else", scope=GRANTS))
    assert socket.ended() == 4403
