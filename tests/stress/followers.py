"""Clients that never give up: each is cut or stalled, comes back with what it holds, and records what it is told."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from devstack.server import Server
from tests.protocol import validated
from tests.stress.history import Frame, History, after

#: (a way to cut the connection, what it is told)
Opened = tuple[Callable[[], object], Iterator[str]]
_PAUSE = (0.02, 0.3)


class Follower(threading.Thread):
    """One client. `reading` is cleared to stall it; `histories` has every connection that it had, the last one open."""

    def __init__(self, name: str, server: Server, token: str, topics: Sequence[str], *, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self._server, self._token, self._topics = server, token, tuple(topics)
        self._random = random.Random(seed)
        self._open = self._random.choice((self._websocket, self._events))
        self._cut: Callable[[], object] = lambda: None
        self._closing = threading.Event()
        self.reading = threading.Event()
        self.reading.set()
        self.held: dict[str, tuple[str, Any]] = {}
        self.histories: list[History] = []
        self.fault: AssertionError | None = None

    def run(self) -> None:
        while not self._closing.is_set():
            try:
                with contextlib.suppress(OSError, WebSocketException, http.client.HTTPException, ValueError):
                    self._follow()
            except AssertionError as fault:  # a frame that is none: for the test to see
                self.fault = fault
                return
            self._closing.wait(self._random.uniform(*_PAUSE))

    def disconnect(self) -> None:
        """Without a word, as a network does."""
        with contextlib.suppress(OSError):
            self._cut()

    def close(self) -> None:
        self._closing.set()
        self.reading.set()
        self.disconnect()
        self.join(10)

    def _follow(self) -> None:
        held = dict(self.held)
        with contextlib.ExitStack() as closing:
            self._cut, told = self._open(held, closing)
            self._record(told, held)

    def _record(self, told: Iterator[str], held: dict[str, tuple[str, Any]]) -> None:
        history = History(self.name, held)
        self.histories.append(history)
        staged: list[Frame] = []
        for text in told:
            self.reading.wait()
            frame = checked(text)
            history.frames.append(frame)
            if frame["type"] == "change":
                staged.append(frame)
            elif frame["type"] == "sync":
                self.held = after(self.held, staged)  # a patch that does not fit: ValueError, so it comes again
                staged = []

    def _websocket(self, held: Mapping[str, tuple[str, Any]], closing: contextlib.ExitStack) -> Opened:
        connecting = connect(
            self._server.url.replace("http", "ws", 1) + "/v1/stream",
            subprotocols=[Subprotocol("cfg.v1")],
            additional_headers={"Authorization": f"Bearer {self._token}"},
            proxy=None,
            compression=None,
            ping_interval=None,
            open_timeout=5,
            close_timeout=1,
        )
        connection = closing.enter_context(connecting)
        topics = [{"name": name, **({"etag": held[name][0]} if name in held else {})} for name in self._topics]
        connection.send(
            json.dumps(
                {
                    "type": "subscribe",
                    "topics": topics,
                    "accept": ["put", "patch"],
                    "client": {"instance": self.name, "version": "1"},
                }
            )
        )

        def told() -> Iterator[str]:
            while True:
                yield str(connection.recv(timeout=10))

        return lambda: connection.socket.shutdown(socket.SHUT_RDWR), told()

    def _events(self, held: Mapping[str, tuple[str, Any]], closing: contextlib.ExitStack) -> Opened:
        pairs = [("accept", "patch")]
        for name in self._topics:
            pairs += [("topic", name), *([("etag", held[name][0])] if name in held else [])]
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=10)
        closing.callback(connection.close)
        headers = {"Authorization": f"Bearer {self._token}", "X-Config-Instance": self.name}
        connection.request("GET", "/v1/events?" + urlencode(pairs), headers=headers)
        sock = connection.sock
        answer = closing.enter_context(connection.getresponse())
        if answer.status != 200:
            raise OSError(f"{answer.status}")

        def told() -> Iterator[str]:
            while line := answer.readline():
                if line.startswith(b"data: ") and line.endswith(b"\n"):  # else it was cut by us, in the middle
                    yield line[6:].decode().rstrip("\n")

        return lambda: sock.shutdown(socket.SHUT_RDWR), told()


def checked(text: str) -> Frame:
    try:
        return validated(text)
    except ValueError as error:
        raise AssertionError(f"no JSON: {text[:200]!r}") from error


def stalled(follower: Follower, seconds: float) -> None:
    """Let it read nothing for a while."""
    follower.reading.clear()
    timer = threading.Timer(seconds, follower.reading.set)
    timer.daemon = True
    timer.start()


def settled(followers: Sequence[Follower], standing: Mapping[str, str], topics: Mapping[str, Sequence[str]]) -> bool:
    """Whether each holds what stands of its topics."""
    return all(
        follower.held.get(topic, ("", None))[0] == standing[topic]
        for follower in followers
        for topic in topics[follower.name]
    )


def waited(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
