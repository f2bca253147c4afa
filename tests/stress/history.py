"""What one connection was told, as it can be written down and judged again later."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import jsonpatch

from app.effective import canonical

Frame = dict[str, Any]


@dataclass
class History:
    """One connection. `held` is what the client held when it came: topic -> (etag, document)."""

    client: str
    held: dict[str, tuple[str, Any]] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)

    def dumps(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> History:
        data = json.loads(text)
        data["held"] = {topic: (etag, doc) for topic, (etag, doc) in data["held"].items()}
        return cls(**data)

    def groups(self) -> list[list[Frame]]:
        """The changes that each `sync` closes, with the `sync`; those that none has closed are left out."""
        found: list[list[Frame]] = []
        staged: list[Frame] = []
        for frame in self.frames:
            if frame["type"] in {"change", "sync"}:
                staged.append(frame)
            if frame["type"] == "sync":
                found.append(staged)
                staged = []
        return found


def after(held: Mapping[str, tuple[str, Any]], changes: Sequence[Frame]) -> dict[str, tuple[str, Any]]:
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
