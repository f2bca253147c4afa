"""Tickets: one use, half a minute, one origin, and no longer than the token. The same for both stores."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.access import LocalTickets, RedisTickets, Tickets
from app.access.permissions import parse_grants
from app.access.tickets import TICKET_SECONDS, TicketStore
from app.cache import RedisLink
from app.errors import BusUnavailable, Unauthenticated
from app.model import Principal
from devstack.valkey import Valkey
from tests.access.support import Clock, OffsetClock
from tests.valkeys import MakeLink, make_link, own_valkey

__all__ = ["make_link", "own_valkey"]

ORIGIN = "https://ui.example.org"


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with closing(Valkey(tmp_path_factory.mktemp("valkey")).start()) as server:
        yield server


@pytest.fixture
def link(valkey: Valkey, make_link: MakeLink) -> RedisLink:
    return make_link(valkey, timeout=5.0)


@pytest.fixture(params=["local", "redis"])
def store(request: pytest.FixtureRequest) -> TicketStore:
    return LocalTickets() if request.param == "local" else RedisTickets(request.getfixturevalue("link"))


def ada(lifetime: float = 600.0, **members: Any) -> Principal:
    grants = parse_grants(["config:read:pay*/prod", "config:view"])
    return Principal("https://issuer.example", "ada", grants, time.time() + lifetime, "j1", "pay", "prod", **members)


def test_a_ticket_speaks_for_who_asked_for_it_with_every_grant(store: TicketStore) -> None:
    tickets, principal = Tickets(store), ada()
    assert tickets.redeem(tickets.issue(principal, ORIGIN), ORIGIN) == principal


def test_without_an_origin_it_is_for_who_has_none(store: TicketStore) -> None:
    tickets, principal = Tickets(store), ada()
    assert tickets.redeem(tickets.issue(principal, None), None) == principal
    with pytest.raises(Unauthenticated):
        tickets.redeem(tickets.issue(principal, None), ORIGIN)


def test_of_twenty_who_come_at_once_one_gets_in(store: TicketStore) -> None:
    tickets = Tickets(store)
    ticket = tickets.issue(ada(), ORIGIN)
    start, won, lost = threading.Barrier(20), list[Principal](), list[Exception]()

    def redeem() -> None:
        start.wait()
        try:
            won.append(tickets.redeem(ticket, ORIGIN))
        except Unauthenticated as refused:
            lost.append(refused)

    threads = [threading.Thread(target=redeem) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 19)


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "", None])
def test_another_origin_is_refused_and_uses_the_ticket_up(store: TicketStore, origin: str | None) -> None:
    tickets = Tickets(store)
    ticket = tickets.issue(ada(), ORIGIN)
    for asked in (origin, ORIGIN):
        with pytest.raises(Unauthenticated):
            tickets.redeem(ticket, asked)


@pytest.mark.parametrize("ticket", ["", "x", "ünknown", "a" * 5000])
def test_what_was_never_issued_is_refused(store: TicketStore, ticket: str) -> None:
    with pytest.raises(Unauthenticated):
        Tickets(store).redeem(ticket, None)


def test_a_ticket_outlives_no_token(store: TicketStore) -> None:
    clock = OffsetClock()
    tickets = Tickets(store, clock)
    ticket = tickets.issue(ada(lifetime=10), ORIGIN)
    clock.offset = 11
    with pytest.raises(Unauthenticated, match="expired"):
        tickets.redeem(ticket, ORIGIN)


def test_a_late_ticket_is_refused_by_one_worker_alone() -> None:
    clock = Clock()
    tickets = Tickets(LocalTickets(clock))
    early, late = tickets.issue(ada(), None), tickets.issue(ada(), None)
    clock.now = TICKET_SECONDS - 1
    assert tickets.redeem(early, None).subject == "ada"
    clock.now = TICKET_SECONDS
    with pytest.raises(Unauthenticated):
        tickets.redeem(late, None)


def test_redis_forgets_a_ticket_in_time_and_never_sees_it_itself(link: RedisLink) -> None:
    ticket = Tickets(RedisTickets(link)).issue(ada(), ORIGIN)
    keys = link.call(lambda client: list(client.scan_iter(match=link.key("*").replace("{", "\\{"))))
    keys = [key for key in keys if key.startswith(link.key("ticket:").encode())]
    assert len(keys) == 1
    assert 0 < int(str(link.call(lambda client: client.ttl(keys[0])))) <= TICKET_SECONDS
    value: Any = link.call(lambda client: client.get(keys[0]))
    assert ticket.encode() not in keys[0] + value
    assert json.loads(value)["principal"]["token_id"] == "j1", "revocations find the token behind it"


def test_while_redis_is_away_nobody_is_let_in_and_nobody_is_accused(make_link: MakeLink, tmp_path: Path) -> None:
    with closing(Valkey(tmp_path / "valkey").start()) as server:
        tickets = Tickets(RedisTickets(make_link(server)))
        ticket = tickets.issue(ada(), None)
        server.stop()
        with pytest.raises(BusUnavailable):
            tickets.issue(ada(), None)
        with pytest.raises(BusUnavailable):
            tickets.redeem(ticket, None)
