"""For whom a thread works: the request that asked for it lately, as another thread, worker or host tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.observability.logs import on_behalf_of

#: How long a request counts as the reason for what is done, in seconds: it may take a second attempt.
SECONDS = 5.0


class Behalf:
    """Others note, one thread works. An id is for the log alone: of two who ask at once one is named."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._noted: tuple[str | None, float] = (None, 0.0)

    def note(self, request_id: str | None) -> None:
        if request_id is not None:
            self._noted = (request_id, self._clock() + SECONDS)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Meanwhile lines of this thread bear the id that was noted last, if that was lately."""
        request_id, until = self._noted
        with on_behalf_of(request_id if self._clock() < until else None):
            yield
