"""What all streams of a worker share: the parts they lean on, and the limits of one client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from app.engine import ConfigEngine, Resolution
from app.model import Principal, View
from app.notify import Presence
from app.streams.looks import Looks

#: (principal, service, envs) -> what it may see, or None.
Authorize: TypeAlias = Callable[[Principal, str, tuple[str, ...]], View | None]


@dataclass(frozen=True, slots=True)
class Listener:
    """Who a stream speaks to, as the audit trail writes it. `connection` stands where a request's id would."""

    principal: Principal
    connection: str
    address: str


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """`origins` are the browser origins that may connect. Durations in seconds.

    `inbound` messages may come in `inbound_seconds`. A stream is asked to come again after `max_age` (times 0.8 to 1),
    so that streams spread over workers that came later. `expiry_warning` before a token's end the client is told.
    Who has seen a revision elsewhere that is not installed here yet waits for it, `catch_up` at most.
    """

    origins: frozenset[str] = frozenset()
    write_timeout: float = 10.0
    inbound: int = 20
    inbound_seconds: float = 10.0
    max_age: float = 1800.0
    expiry_warning: float = 60.0
    drain_seconds: float = 5.0
    catch_up: float = 2.0


@dataclass(frozen=True, slots=True)
class StreamPolicy:
    """`heartbeat` in seconds.

    `verify` turns a token into a Principal (Unauthenticated if it is not good); `is_revoked` is asked at every turn.
    `on_pushed` is told the op of each change, `on_delivered` (listener, view, what it was given), `on_denied`
    (listener, topic as asked).
    """

    engine: ConfigEngine
    looks: Looks
    presence: Presence
    authorize: Authorize
    verify: Callable[[str], Principal]
    is_revoked: Callable[[Principal], bool]
    heartbeat: float
    limits: StreamLimits
    on_pushed: Callable[[str], None]
    on_delivered: Callable[[Listener, View, Resolution], None]
    on_denied: Callable[[Listener, str], None]
