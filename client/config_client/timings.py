"""Every duration of the client, in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timings:
    """`initial` is how long a first configuration is waited for; `connect` until a stream has said hello.

    A stream that was silent for `heartbeats` of its heartbeats is dead. `repoll` is asked beside a stream whatever it
    says (give or take a fifth), `poll` instead of one; `long_poll` is how long the server may hold a question (50 at
    most). After a failure a random time up to `backoff` is waited, twice that after the next, `backoff_most` at most.
    Where a stream did not get through, `climb` later it is tried again, then less and less often up to `climb_most`.
    What nobody has confirmed for `unconfirmed` counts as stale.
    """

    initial: float = 30.0
    connect: float = 10.0
    request: float = 10.0
    heartbeats: float = 3.0
    repoll: float = 300.0
    poll: float = 30.0
    long_poll: float = 50.0
    backoff: float = 1.0
    backoff_most: float = 30.0
    climb: float = 60.0
    climb_most: float = 600.0
    unconfirmed: float = 120.0
