"""A core without a driver: the test is the server, the program and the clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from config_client import Timings, core
from config_client.canonical import digest
from config_client.document import Document
from tests.protocol import validated

A = TypeVar("A")

TOPIC = "pay/prod/main"
EPOCH = "1-0123abcd"


def rev(number: int) -> str:
    return f"{EPOCH}.{number}"


def etag(name: str) -> str:
    return name.encode().hex().rjust(32, "0")


def commit(name: str) -> str:
    return name.encode().hex().rjust(40, "0")


def body(config: Mapping[str, Any], name: str, **more: Any) -> bytes:
    coordinates = {"service": "pay", "env": "prod", "label": "main"}
    versions = {"version": commit(name), "head": commit(name), "etag": etag(name)}
    return json.dumps({**coordinates, **versions, "config": config, **more}).encode()


def change(op: str, name: str, **more: Any) -> dict[str, Any]:
    named = {"type": "change", "topic": TOPIC, "op": op, "etag": etag(name), "version": commit(name)}
    return {**named, "head": commit(name), "keys": [], **more}


def put(config: Mapping[str, Any], name: str, **more: Any) -> dict[str, Any]:
    return change("put", name, doc=config, sum=digest(config), **more)


def sync(number: int) -> dict[str, Any]:
    return {"type": "sync", "rev": rev(number), "ts": "2026-11-23T09:48:49.880Z"}


class Talk:
    """Nothing waits longer than the most that is allowed: `draw` takes the upper end."""

    def __init__(self, *, takes: bool = True, **options: Any) -> None:
        self.now = 1000.0
        self.takes = takes
        self.timings = options.pop("timings", Timings())
        subject = core.Subject("pay", "prod", instance="pay-1", version="1.0")
        self.core = core.Core(subject, self.timings, draw=lambda _low, high: high, **options)
        self.actions: list[core.Action] = []

    def tell(self, event: core.Event) -> None:
        self._did(self.core.handle(event, self.now))

    def wait(self, seconds: float) -> None:
        """Let the time pass, with every tick that is due meanwhile."""
        end = self.now + seconds
        while (due := self.core.due) is not None and due <= end:
            self.now = max(self.now, due)
            self._did(self.core.tick(self.now))
        self.now = end

    def wait_for(self, kind: type[core.Action], most: float = 3600) -> None:
        """Let the time pass until there is one more of these actions."""
        before, end = len(self.all(kind)), self.now + most
        while len(self.all(kind)) == before:
            due = self.core.due or end + 1
            assert due <= end, "nothing is due"
            self.wait(due - self.now)

    def wait_for_any(self) -> None:
        """Let the time pass until something is due, if anything is."""
        if self.core.due is not None:
            self.wait(max(0.0, self.core.due - self.now))

    def _did(self, actions: list[core.Action]) -> None:
        """The program looks at once; every frame that goes out is one of cfg.v1."""
        self.actions += actions
        for action in actions:
            if isinstance(action, core.Send):
                validated(action.text)
            if isinstance(action, core.Judge) and self.takes:
                self.tell(core.Judged(action.new.etag))

    def all(self, kind: type[A]) -> list[A]:
        return [action for action in self.actions if isinstance(action, kind)]

    def last(self, kind: type[A]) -> A:
        return self.all(kind)[-1]

    def notes(self) -> list[str]:
        return [note.name for note in self.all(core.Note)]

    def sent(self) -> list[dict[str, Any]]:
        return [json.loads(action.text) for action in self.all(core.Send)]

    def answer(self, status: int = 200, data: bytes = b"", number: int = 1, **headers: str) -> None:
        """To the last question."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"x-config-rev": rev(number), **named}
        self.tell(core.Answered(self.last(core.Ask).ask, status, given, data))

    @property
    def link(self) -> int:
        opened = [action for action in self.actions if isinstance(action, core.OpenSocket | core.OpenEvents)]
        return opened[-1].link

    def frames(self, *frames: Mapping[str, Any]) -> None:
        """On the last stream."""
        for frame in frames:
            self.tell(core.Received(self.link, json.dumps(validated(json.dumps(frame)))))

    def started(self, config: Mapping[str, Any]) -> None:
        """Fetched, and following."""
        self.tell(core.Fetch())
        self.answer(200, body(config, "one"), etag='"tag-one"')
        self.tell(core.Listen())
        self.wait(0)

    def connected(self, number: int = 1, *frames: Mapping[str, Any]) -> None:
        """The last stream is open, and has told `frames`."""
        self.tell(core.Opened(self.link))
        hello = {"type": "hello", "conn": "c1", "rev": rev(number), "hb_ms": 20000}
        self.frames(hello, {"type": "subscribed", "topics": [TOPIC], "mode": "none"}, *frames, sync(number))

    @property
    def held(self) -> Document:
        assert self.core.held is not None
        return self.core.held
