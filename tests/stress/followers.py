"""Clients that never give up: each is cut or stalled, comes back with what it holds, and records what it is told."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from devstack.server import Server
from tests.stress.history import Frame, History, Holding, after
from tests.stress.lines import BROKEN, LINES, Line, Wanted

_PAUSE = (0.02, 0.3)


class Follower(threading.Thread):
    """One client of one server. `reading` is cleared to stall it; `histories` has every connection that it had, the
    last one open; `held` what it holds now; `refused` how often it was offered less than it had seen; `killed_ports`
    from where it was connected to workers that were killed."""

    def __init__(
        self,
        name: str,
        server: Server,
        token: str,
        topics: Sequence[str],
        *,
        kind: str,
        seed: int = 0,
        patches: bool = True,
        receive_buffer: int = 0,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.server, self.kind, self.topics = server, kind, tuple(topics)
        self._token, self._patches, self._receive_buffer = token, patches, receive_buffer
        self._random = random.Random(seed)
        self._line: Line | None = None
        self._closing = threading.Event()
        self._cutting = False
        self._seen, self._mark = "", ""
        self.reading = threading.Event()
        self.reading.set()
        self.held: Holding = {}
        self.histories: list[History] = []
        self.refused = 0
        self.killed_ports: set[int] = set()
        self.fault: AssertionError | None = None

    def run(self) -> None:
        while not self._closing.is_set():
            try:
                with contextlib.suppress(*BROKEN):
                    self._follow()
            except AssertionError as fault:  # a frame that is none: for the test to see
                self.fault = fault
                return
            self._closing.wait(self._random.uniform(*_PAUSE))

    def disconnect(self) -> None:
        self._cutting = True
        if self._line is not None:
            self._line.cut()

    def close(self) -> None:
        self._closing.set()
        self.reading.set()
        self.disconnect()
        self.join(30)

    def stall(self, seconds: float) -> None:
        """Let it read nothing for a while."""
        self.reading.clear()
        timer = threading.Timer(seconds, self.reading.set)
        timer.daemon = True
        timer.start()

    @property
    def documents(self) -> dict[str, Any]:
        return {topic: doc for topic, (_, doc) in self.held.items()}

    def _follow(self) -> None:
        held, by = dict(self.held), "etags"
        wanted = {topic: held[topic][0] if topic in held else None for topic in self.topics}
        mark = ""
        if self.kind == "sse" and None not in wanted.values() and self._random.random() < 0.5:
            mark, by = self._mark, "digest"
        asked = Wanted(wanted, self._seen, mark, self._patches, self._receive_buffer)
        line = LINES[self.kind](self.server, self._token, self.name, asked)
        history = History(self.name, held, topics=self.topics, by=by, patches=self._patches, port=line.port)
        self._line, self._cutting = line, False
        self.histories.append(history)
        try:
            if not self._closing.is_set():
                history.end = self._record(line, history)
        except BROKEN:
            history.end = "lost"
        finally:
            if self._cutting or self._closing.is_set():
                history.end = "cut"
            history.killed = line.port in self.killed_ports
            line.close()

    def _record(self, line: Line, history: History) -> str:
        """Read to the end; how it ended."""
        staged: list[Frame] = []
        asked = time.monotonic()
        for frame, mark in line.told():
            history.add(frame, time.monotonic() - asked)
            if frame["type"] == "change":
                staged.append(frame)
            elif frame["type"] == "sync":
                if not self._apply(staged, frame["rev"], mark):
                    return "cut"
                staged = []
            self.reading.wait()
            asked = time.monotonic()
        return line.end

    def _apply(self, changes: Sequence[Frame], rev: str, mark: str) -> bool:
        """Hold it from now on; not if it is less than what was seen, or does not fit: then come again."""
        if _number(rev) < _number(self._seen) and rev.rpartition(".")[0] == self._seen.rpartition(".")[0]:
            self.refused += 1
            return False
        try:
            self.held = after(self.held, changes)
        except ValueError:  # the history tells
            self.held = {}
            return False
        self._seen, self._mark = rev, mark
        return True


def _number(rev: str) -> int:
    return int(rev.rpartition(".")[2] or 0)


def settled(followers: Sequence[Follower], standing: Mapping[str, Any]) -> bool:
    """Whether each holds the document at which each of its topics stands."""
    return all(
        topic in follower.held and follower.held[topic][1] == standing[topic]
        for follower in followers
        for topic in follower.topics
    )


def unsettled(followers: Sequence[Follower], standing: Mapping[str, Any]) -> list[str]:
    """Who does not, for whoever reads the failure: the client, its kind, the topic, and what it saw last."""
    return [
        f"{follower.name}: {topic} is {follower.held.get(topic)}, and stands at "
        f"{standing[topic]}; connections: {len(follower.histories)}, frames: {follower.histories[-1:]}"[:1500]
        for follower in followers
        for topic in follower.topics
        if topic not in follower.held or follower.held[topic][1] != standing[topic]
    ]


@contextlib.contextmanager
def following(followers: Sequence[Follower]) -> Iterator[None]:
    """Start them, and close them at the end."""
    try:
        for follower in followers:
            follower.start()
        yield
    finally:
        for follower in followers:
            follower.disconnect()
        for follower in followers:
            follower.close()


def waited(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)  # the pause between two looks
    return True
