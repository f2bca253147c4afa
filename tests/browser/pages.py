"""A page of the application as a test sees it: what it asks, the streams that it opens, and what it was told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlencode

from tests.browser.chromium import Page
from tests.cluster.clients import Frame, Told, bearer
from tests.support import eventually

#: A topic's name -> the etag that the page holds of it, if any.
Topics: TypeAlias = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer as far as the browser lets the page see it. `status` 0: it let nothing through."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)


class Stream:
    """One stream of a page, by its name there. Every frame that the page hands over is validated."""

    def __init__(self, page: Page, name: str) -> None:
        self._page = page
        self._record = f"told[{json.dumps(name)}]"
        self._told = Told()
        self.name = name

    @property
    def record(self) -> dict[str, Any]:
        """What the page keeps of it: see page.js."""
        return dict(self._page.read(self._record))

    @property
    def told(self) -> Told:
        """All that it was told until now."""
        for text in self._page.read(f"{self._record}.frames.slice({len(self._told.frames)})"):
            self._told.add(text)
        return self._told

    def frames(self, until: str) -> list[Frame]:
        """All frames so far, once there is one of this kind: for `sync` no heartbeat before what it asked for."""
        eventually(lambda: self._has(until))
        return [frame for _, frame in self.told.frames]

    def _has(self, kind: str) -> bool:
        kinds = [frame["type"] for _, frame in self.told.frames]
        if kind == "sync":
            kinds = kinds[kinds.index("subscribed") :] if "subscribed" in kinds else []
        return kind in kinds

    def doc(self, topic: str) -> Any:
        """The configuration that it holds of a topic, None before that."""
        held = self.told.held().get(topic)
        return held.doc if held else None

    def ended(self) -> Any:
        """How it ended: the close code of a WebSocket, a word of page.js for an event stream."""
        return eventually(lambda: self._page.read(f"{self._record}.ended"))

    def say(self, **frame: Any) -> None:
        self._page.call("say", self.name, frame)

    def leave(self) -> None:
        self._page.call("leave", self.name)


class AppPage:
    """Open it with `?server=` in its address. `tickets` are all that it was given."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._count = 0
        self.tickets: list[str] = []

    def ask(self, path: str, token: str | None = None, method: str = "GET", **options: Any) -> Seen:
        headers = {**bearer(token), **options.pop("headers", {})}
        answer = self._page.call("ask", path, {"method": method, "headers": headers, "cache": "no-store", **options})
        return Seen(answer.get("status", 0), answer.get("headers", {}), answer.get("text", ""))

    def ticket(self, token: str) -> str:
        answer = self.ask("/v1/tickets", token, "POST")
        assert (answer.status, answer.body["expires_in"]) == (201, 30)
        self.tickets.append(answer.body["ticket"])
        return self.tickets[-1]

    def socket(self, ticket: str, topics: Topics, **subscribe: Any) -> Stream:
        """A WebSocket, subscribed to the topics (with the etags that the page holds, if any)."""
        stream = self._opened("openSocket", ticket)
        if topics:
            wanted = [{"name": name, **({"etag": etag} if etag else {})} for name, etag in topics.items()]
            stream.frames("hello")
            stream.say(type="subscribe", topics=wanted, **subscribe)
        return stream

    def events(self, ticket: str, topics: Topics, headers: Mapping[str, str] | None = None) -> Stream:
        """An event stream read by `fetch`."""
        return self._opened("openEvents", ticket, _query(topics), dict(headers or {}))

    def source(self, ticket: str, topics: Topics) -> Stream:
        """An event stream read by the browser's own EventSource."""
        return self._opened("openSource", ticket, _query(topics))

    def leave_all(self) -> None:
        self._page.call("leaveAll")

    def close(self) -> None:
        self._page.close()

    def _opened(self, function: str, *arguments: Any) -> Stream:
        self._count += 1
        name = f"{function} {self._count}"
        self._page.call(function, name, *arguments)
        return Stream(self._page, name)


def _query(topics: Topics) -> str:
    pairs = [pair for name, etag in topics.items() for pair in (("topic", name), ("etag", etag)) if pair[1]]
    return urlencode(pairs)
