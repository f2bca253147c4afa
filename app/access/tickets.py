"""Tickets: how a browser opens a stream without a token in its URL. One use, half a minute, bound to an origin."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Protocol

from app.cache import RedisLink
from app.errors import Unauthenticated
from app.model import Grant, Principal

TICKET_SECONDS = 30


class TicketStore(Protocol):
    """Keeps what a ticket stands for, by its hash. `take` gives it out once, however many ask."""

    def put(self, digest: str, text: str) -> None: ...

    def take(self, digest: str) -> str | None: ...


class LocalTickets:
    """For one worker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()  # guards _kept

    def put(self, digest: str, text: str) -> None:
        now = self._clock()
        with self._lock:
            self._kept = {key: kept for key, kept in self._kept.items() if kept[0] > now}
            self._kept[digest] = (now + TICKET_SECONDS, text)

    def take(self, digest: str) -> str | None:
        with self._lock:
            until, text = self._kept.pop(digest, (0.0, ""))
        return text if until > self._clock() else None


class RedisTickets:
    """For all workers. Raises BusUnavailable while Redis does not answer."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def put(self, digest: str, text: str) -> None:
        self._link.call(lambda client: client.set(self._key(digest), text, ex=TICKET_SECONDS))

    def take(self, digest: str) -> str | None:
        found = self._link.call(lambda client: client.getdel(self._key(digest)))
        return found.decode(errors="replace") if isinstance(found, bytes) else None

    def _key(self, digest: str) -> str:
        return self._link.key(f"ticket:{digest}")


class Tickets:
    """Issues and redeems. A ticket carries the grants of the token it was asked for with, and ends no later."""

    def __init__(self, store: TicketStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def issue(self, principal: Principal, origin: str | None) -> str:
        """A new ticket. Raises BusUnavailable."""
        ticket = secrets.token_urlsafe(32)
        self._store.put(_digest(ticket), json.dumps({"v": 1, "origin": origin, "principal": asdict(principal)}))
        return ticket

    def redeem(self, ticket: str, origin: str | None) -> Principal:
        """Whom it speaks for; it is used up, whatever happens. Raises Unauthenticated, BusUnavailable."""
        principal, for_origin = _read(self._store.take(_digest(ticket)))
        if principal is None or for_origin != origin:
            raise Unauthenticated("the ticket is not known, used, too old, or another origin's")
        if principal.expires_at <= self._clock():
            raise Unauthenticated("the token behind the ticket has expired")
        return principal


def _read(text: str | None) -> tuple[Principal | None, str | None]:
    """Whom it speaks for, and from where; nobody for no ticket, and for one of another version."""
    try:
        data = json.loads(text) if text else {}
        if data.get("v") != 1:
            return None, None
        told = data["principal"]
        return Principal(**{**told, "grants": tuple(Grant(**grant) for grant in told["grants"])}), data["origin"]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None, None


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
