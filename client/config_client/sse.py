"""Reading an event stream: bytes in, the data of events out (WHATWG HTML, section 9.2)."""

from __future__ import annotations


class EventReader:
    """Keeps what is not yet complete. Raises ValueError when one event is larger than `most` bytes."""

    def __init__(self, most: int = 64 * 1024 * 1024) -> None:
        self._most = most
        self._rest = bytearray()
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[str]:
        """The data of each event that is complete with this chunk; events without data do not count."""
        self._rest += chunk
        if len(self._rest) > self._most:
            raise ValueError("an event is larger than any configuration")
        found: list[str] = []
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                found.append(b"\n".join(self._data).decode())
                self._data = []
        return found
