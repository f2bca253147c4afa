"""What one connection was told, as it can be written down and judged again later."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from typing import Any

import jsonpatch

from app.effective import canonical

Frame = dict[str, Any]
#: topic -> (etag, document)
Holding = dict[str, tuple[str, Any]]


@dataclass
class History:
    """One connection.

    `held` is what the client held when it came, `by` how it said so: by its etags, or by the digest in the id of the
    last event; `patches`: it takes them. `waits` has for each frame how long the client sat waiting for it, in seconds.
    `end` is "" while it is open, "cut" by the client's side, a WebSocket's close code, else "lost". `killed`: its
    worker was, by the test.
    """

    client: str
    held: Holding = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    topics: tuple[str, ...] = ()
    by: str = "etags"
    patches: bool = True
    waits: list[float] = field(default_factory=list)
    end: str = ""
    killed: bool = False
    port: int = 0

    def add(self, frame: Frame, waited: float = 0.0) -> None:
        self.frames.append(frame)
        self.waits.append(waited)

    def dumps(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> History:
        data = json.loads(text)
        data["held"] = {topic: (etag, doc) for topic, (etag, doc) in data["held"].items()}
        return cls(**{**data, "topics": tuple(data["topics"])})

    @property
    def answered(self) -> int:
        """Frames until the subscription is answered. A client that is slow to subscribe may hear heartbeats before."""
        kinds = [frame["type"] for frame in self.frames]
        idle = len(list(takewhile(lambda kind: kind in {"hello", "sync"}, kinds)))
        return idle if kinds[idle : idle + 1] == ["subscribed"] else 0

    def groups(self, *, since: int = 0) -> list[list[Frame]]:
        """The changes that each `sync` closes, with the `sync`; those that none has closed are left out."""
        found: list[list[Frame]] = []
        staged: list[Frame] = []
        for frame in self.frames[since:]:
            if frame["type"] in {"change", "sync"}:
                staged.append(frame)
            if frame["type"] == "sync":
                found.append(staged)
                staged = []
        return found

    @property
    def changes(self) -> list[Frame]:
        """The changes that the client applied; what no `sync` has closed is dropped with the connection."""
        return [frame for group in self.groups() for frame in group[:-1]]


@dataclass
class Pushed:
    """What the origin has stood at, in order (one commit may be there twice), and what each commit configures:
    topic -> document, None where the commit is bad for it."""

    heads: list[str] = field(default_factory=list)
    documents: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def add(self, head: str, documents: Mapping[str, Any] | None = None) -> None:
        """`documents` may be left out for a commit that was pushed before."""
        self.heads.append(head)
        if documents is not None:
            self.documents[head] = dict(documents)


def after(held: Holding, changes: Sequence[Frame]) -> Holding:
    """What a client holds once it has applied these changes. Raises ValueError for a patch that does not fit."""
    now = dict(held)
    for change in changes:
        topic = change["topic"]
        if change["op"] == "put":
            now[topic] = (change["etag"], change["doc"])
        elif change["op"] == "patch":
            etag, doc = now.get(topic, ("", None))
            if etag != change["base"]:
                raise ValueError(f"{topic}: a patch from {change['base']}, and {etag or 'nothing'} is held")
            now[topic] = (change["etag"], patched(doc, change["patch"]))
        elif change["op"] == "del":
            now.pop(topic, None)
    return now


def patched(document: Any, operations: list[Frame]) -> Any:
    try:
        return jsonpatch.JsonPatch(operations).apply(copy.deepcopy(document))
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
        raise ValueError(f"a patch that does not apply: {error}") from error


def sum_of(document: Any) -> str:
    return hashlib.sha256(canonical(document)).hexdigest()
