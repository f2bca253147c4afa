"""Which way the client follows by, when it tries again, and when it tries a better one. Pure: the time comes in."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Sequence

from config_client.timings import Timings

TRANSPORTS = ("websocket", "sse", "long-poll", "poll")


class Trouble(enum.Enum):
    """Why a way failed, as far as it matters for the next step.

    LOST: it worked and is over. UNREACHABLE: no connection at all, so another way would fare no better. BROKEN:
    something answers, but this way does not get through. REFUSED: an answer that says so outright. BUSY: come back
    later. DENIED: the token is no good.
    """

    LOST = "lost"
    UNREACHABLE = "unreachable"
    BROKEN = "broken"
    REFUSED = "refused"
    BUSY = "busy"
    DENIED = "denied"


#: How often a way may fail in a row before the next one is tried; the others never lead down.
_PATIENCE = {Trouble.REFUSED: 1, Trouble.BROKEN: 2, Trouble.BUSY: 3}


class Ladder:
    """`draw(low, high)` is uniformly random."""

    def __init__(
        self, transports: Sequence[str], timings: Timings, draw: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._transports = tuple(transports)
        self._timings = timings
        self._draw = draw
        self._rung = 0
        self._failures = 0
        self._failures_here = 0
        self._proven: int | None = None
        self._probing = False
        self._climb_after = timings.climb
        self.climb_at: float | None = None

    @property
    def transport(self) -> str:
        return self._transports[self._rung]

    @property
    def is_proven(self) -> bool:
        """Whether this way has got through, and none was tried since."""
        return self._proven == self._rung and not self._failures

    def works(self, now: float) -> None:
        """This way gets through."""
        self._failures = self._failures_here = 0
        if self._proven == self._rung and not self._probing:
            return
        again = self._probing and self._proven == self._rung
        self._climb_after = min(2 * self._climb_after, self._timings.climb_most) if again else self._timings.climb
        self._proven, self._probing = self._rung, False
        self.climb_at = now + self._draw(0.8, 1.2) * self._climb_after if self._rung else None

    def failed(self, trouble: Trouble, retry_after: float = 0.0) -> float:
        """How many seconds to wait before the next attempt, which may go another way: see `transport`.

        Full jitter, so that many clients do not come back at once; on top of what the server asks for.
        """
        self._failures += 1
        self._failures_here += 1
        patience = _PATIENCE.get(trouble)
        if patience is not None and self._failures_here >= (1 if self._probing else patience):
            self._failures_here = 0
            if self._rung < len(self._transports) - 1:
                self._rung += 1
                if self._probing or trouble is Trouble.REFUSED:
                    return retry_after
        most = min(self._timings.backoff_most, self._timings.backoff * 2 ** min(self._failures - 1, 20))
        return retry_after + self._draw(0, most)

    def climb(self) -> None:
        """Try the best way again, and the others down to the one that works."""
        self._probing, self._rung, self._failures_here, self.climb_at = True, 0, 0, None
