"""When to say what has become of a change: soon, and never so often that the server minds. The last word counts."""

from __future__ import annotations

from config_client.core.link import Link

#: Seconds between two acknowledgements, and from a stream's beginning to the first by HTTP: the server takes 20 frames
#: in 10 s, and knows a new stream everywhere after a second.
_EVERY, _FIRST = 0.7, 1.5


class Acks:
    """Of one client. What waits belongs to the stream that is open; `drop` it with the stream."""

    def __init__(self) -> None:
        self._waiting: dict[str, str] | None = None

    def put(self, said: dict[str, str]) -> None:
        self._waiting = said

    def drop(self) -> None:
        self._waiting = None

    def due(self, link: Link | None) -> float | None:
        """When there is something to say on this stream."""
        if self._waiting is None or link is None:
            return None
        return max(link.acked + _EVERY, link.since + (0 if link.is_socket else _FIRST))

    def take(self, link: Link, now: float) -> dict[str, str] | None:
        """What is to be said now, if it is time."""
        due = self.due(link)
        if due is None or now < due:
            return None
        link.acked, said, self._waiting = now, self._waiting, None
        return said
