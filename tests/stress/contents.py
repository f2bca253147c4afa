"""Promises of cfg.v1 about what is told, one function each: a history in, faults out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.stress.history import Frame, History, Holding, Pushed, after, sum_of


def documents(history: History, pushed: Pushed) -> list[str]:
    """Right: every document has its `sum`, every patch starts at what is held, `keys` names what differs, and what
    comes out is what the commit `version` configures."""
    faults: list[str] = []
    for change, before, held in _applied(history):
        topic = change["topic"]
        if held is None:
            faults.append(f"{topic}: a patch that does not fit what is held")
            continue
        doc = held[topic][1]
        if sum_of(doc) != change["sum"]:
            faults.append(f"{topic}: not the document of its sum")
        if doc != pushed.documents.get(change["version"], {}).get(topic):
            faults.append(f"{topic}: not the document of {change['version'][:12]}")
        unnamed = (
            _differing(before[topic][1], doc) - {_top(key) for key in change["keys"]} if topic in before else set()
        )
        if unnamed:
            faults.append(f"{topic}: {sorted(unnamed)} differ and are not among keys")
    return faults


def versions(history: History, pushed: Pushed) -> list[str]:
    """Honest: what is told is of the head; else it says `stale`, and the head is indeed bad for this topic."""
    faults: list[str] = []
    for change in history.changes:
        version, head = change["version"], change["head"]
        if not head or version == head:
            continue
        if not any(stale["reason"] == "invalid" for stale in change.get("stale", [])):
            faults.append(f"{change['topic']}: {version[:12]} is told for {head[:12]}, and nothing said of it")
        elif pushed.documents.get(head, {}).get(change["topic"]) is not None:
            faults.append(f"{change['topic']}: {head[:12]} is good, and {version[:12]} is told")
    return faults


def patches(history: History, _pushed: Pushed) -> list[str]:
    """Small: a patch is smaller than half of the document; and comes whenever it would be, from what was told here."""
    faults: list[str] = []
    told: dict[str, str] = {}
    for change, before, held in _applied(history):
        topic = change["topic"]
        if held is None:
            continue
        doc = held[topic][1]
        if change["op"] == "patch" and 2 * _size(change["patch"]) >= _size(doc):
            faults.append(f"{topic}: a patch of {_size(change['patch'])} for a document of {_size(doc)}")
        if change["op"] == "patch" and not history.patches:
            faults.append(f"{topic}: a patch for a client that takes none")
        known = history.patches and topic in before and told.get(topic) == before[topic][0]
        if change["op"] == "put" and known and 2 * _size(_rough_patch(before[topic][1], doc)) < _size(doc):
            faults.append(f"{topic}: a document where a patch would do")
        told[topic] = change["etag"]
    return faults


def resumed(history: History, _pushed: Pushed) -> list[str]:
    """Resumed by etag: `hello`, then `subscribed` and what differs from what is held, and its `mode` says so."""
    kinds = [frame["type"] for frame in history.frames]
    if kinds[:1] not in ([], ["hello"]) or kinds.count("hello") > 1:
        return ["hello is not the first frame, or not the only one"]
    opening = [frame for frame in history.frames if frame["type"] == "subscribed"]
    groups = history.groups(since=history.answered)
    if not opening or not groups:
        return ["changes before subscribed"] if any(len(group) > 1 for group in groups) else []
    changed = {frame["topic"] for frame in groups[0][:-1]}
    documents = {frame["topic"] for frame in groups[0][:-1] if frame["op"] != "state"}
    failed = {frame.get("topic", "") for frame in history.frames if frame["type"] == "error"}
    faults: list[str] = []
    missing = set(history.topics) - changed - failed - set(history.held)
    if missing:
        faults.append(f"nothing is told of {sorted(missing)}")
    if history.by == "digest" and documents and documents | failed != set(history.topics):
        faults.append("the digest is not right any more, and not everything is told")
    mode = opening[0]["mode"]
    everything = not history.held or history.by == "digest"
    wanted = ("full" if everything and changed == set(history.topics) else "changes") if changed else "none"
    if mode != wanted and not failed:
        faults.append(f"mode is {mode}, and it should be {wanted}")
    return faults


def _applied(history: History) -> Iterator[tuple[Frame, Holding, Holding | None]]:
    """Each document that was told, with what the client held before and after it (None: it does not fit)."""
    held = dict(history.held)
    for change in history.changes:
        before = held
        try:
            held = after(held, [change])
        except ValueError:
            yield change, before, None
            continue
        if change["op"] in {"put", "patch"}:
            yield change, before, held


def _differing(before: Any, now: Any) -> set[str]:
    """The members at the top that are new, gone, or of another value."""
    return {name for name in {*before, *now} if name not in before or name not in now or before[name] != now[name]}


def _top(key: str) -> str:
    return key.partition(".")[0].partition("[")[0]


def _rough_patch(before: Any, now: Any) -> list[Frame]:
    """A patch that replaces members at the top whole; the server's is no larger."""
    return [
        {"op": "replace", "path": f"/{name}", "value": now[name]}
        if name in now
        else {"op": "remove", "path": f"/{name}"}
        for name in _differing(before, now)
    ]


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
