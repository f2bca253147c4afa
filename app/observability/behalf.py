"""For whom a thread works: the request that asked for it lately, as another thread, worker or host tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.observability.logs import current_request, on_behalf_of
from app.observability.traces import below, current_trace

#: How long a request counts as the reason for what is done, in seconds: it may take a second attempt.
SECONDS = 5.0


def current_cause() -> str | None:
    """The request that this thread works for, in a word for whoever goes on with it: its id and, while traces are on, a
    blank and its `traceparent`."""
    request_id = current_request()
    trace = current_trace() if request_id else None
    return f"{request_id} {trace}" if trace else request_id


class Behalf:
    """Others note, one thread works. A cause is for log and traces alone: of two who ask at once one is named."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._noted: tuple[str | None, float] = (None, 0.0)

    def note(self, cause: str | None) -> None:
        """`cause` is somebody's `current_cause`."""
        if cause is not None:
            self._noted = (cause, self._clock() + SECONDS)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Meanwhile lines and spans of this thread are those of the cause that was noted last, if that was lately."""
        cause, until = self._noted
        request_id, _, trace = (cause or "" if self._clock() < until else "").partition(" ")
        with on_behalf_of(request_id or None), below(trace):
            yield
