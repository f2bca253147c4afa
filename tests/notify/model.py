"""A client of cfg.v1 as its documentation describes one: applies what it is told, and is amazed at what may not be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.stress.history import patched, sum_of

Frame = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Doc:
    """What a client has of a topic; the etag tells in which view. `stale` as the frames tell."""

    etag: str
    doc: Any
    stale: tuple[Any, ...] = ()


@dataclass
class Model:
    """One connection. `held` is what has been applied; `errors` the code told last of a topic that fails.

    `last_id` is the id of the last event, where events have one.
    """

    held: dict[str, Doc] = field(default_factory=dict)
    followed: set[str] = field(default_factory=set)
    errors: dict[str, str] = field(default_factory=dict)
    rev: str = ""
    last_id: str | None = None
    _gone: set[str] = field(default_factory=set)
    _staged: dict[str, Doc | None] = field(default_factory=dict)

    def follow(self, topic: str, claimed: Doc | None) -> None:
        """It subscribes and says that it holds this; what it does not claim it has forgotten, and that it was stale."""
        self.leave(topic)
        self.followed.add(topic)
        if claimed is not None:
            self.held[topic] = replace(claimed, stale=())

    def leave(self, topic: str) -> None:
        self.followed.discard(topic)
        self._gone.discard(topic)
        self.held.pop(topic, None)
        self.errors.pop(topic, None)

    def take(self, told: Sequence[tuple[Frame, str | None]]) -> None:
        """All frames of a turn, each with the id of its event."""
        for frame, mark in told:
            kind = frame["type"]
            assert (kind == "hello") == (self.rev == ""), "hello is the first, and once"
            assert not self._staged or kind in {"change", "sync", "error"}, f"{kind} between a change and its sync"
            match kind:
                case "hello":
                    self.rev = frame["rev"]
                case "subscribed":
                    assert set(frame["topics"]) <= self.followed
                case "change":
                    self._stage(frame)
                case "sync":
                    self._apply(frame, mark)
                case "error" if "topic" in frame:
                    self.errors[frame["topic"]] = frame["code"]
                    self._gone.discard(frame["topic"])
        assert not self._staged, "changes without a sync"

    def _stage(self, frame: Frame) -> None:
        topic = frame["topic"]
        assert topic in self.followed, "nobody follows it"
        assert topic not in self._staged, "twice before one sync"
        before = self.held.get(topic)
        if frame["op"] == "del":
            assert topic not in self._gone, "gone twice"
            assert frame["etag"] == (before.etag if before else "")
            self._gone.add(topic)
            self._staged[topic] = None
        else:
            after = _made(frame, before)
            assert after != before, "what is held already"
            self._gone.discard(topic)
            self._staged[topic] = after
        self.errors.pop(topic, None)

    def _apply(self, frame: Frame, mark: str | None) -> None:
        epoch, _, number = frame["rev"].rpartition(".")
        former, _, reached = self.rev.rpartition(".")
        assert epoch != former or int(number) >= int(reached), "back in time"
        self.rev, self.last_id = frame["rev"], mark
        for topic, doc in self._staged.items():
            self.held.pop(topic, None)
            if doc is not None:
                self.held[topic] = doc
        self._staged.clear()


def _made(change: Frame, before: Doc | None) -> Doc:
    """What the change makes of what is held."""
    stale = tuple(change.get("stale", ()))
    if change["op"] == "put":
        document = change["doc"]
    else:
        assert before is not None
        assert before.etag == change.get("base", change["etag"]), "a change of something else"
        document = patched(before.doc, change["patch"]) if change["op"] == "patch" else before.doc
    assert "sum" not in change or sum_of(document) == change["sum"], "it makes something else"
    return Doc(change["etag"], document, stale)
