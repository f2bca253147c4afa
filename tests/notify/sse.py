"""A small reader of text/event-stream, by the letter of WHATWG HTML, section 9.2.6."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    type: str
    data: str
    last_id: str


def events(stream: bytes) -> list[Event]:
    """What a browser would dispatch. An event that no empty line has ended is dropped."""
    found: list[Event] = []
    kind, data, last_id = "", list[str](), ""
    for line in re.split(r"\r\n|\n|\r", stream.decode().removeprefix("\ufeff"))[:-1]:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                found.append(Event(kind or "message", "\n".join(data), last_id))
            kind, data = "", []
        elif field == "event":
            kind = value
        elif field == "data":
            data.append(value)
        elif field == "id" and "\0" not in value:
            last_id = value
        else:
            assert line.startswith(":"), f"a field that we never send: {line!r}"
    return found
