"""Promises of cfg.v1 about when and in which order something is told, one function each: a history in, faults out."""

from __future__ import annotations

from tests.stress.history import Frame, History, Pushed

#: So many heartbeats without a frame mean that the connection is dead (docs/protocol).
SILENCE = 3


def revisions(history: History, _pushed: Pushed) -> list[str]:
    """In order: `rev` never goes back within an epoch, nor an epoch to one of a smaller number.

    Epochs of number 0 are a host's own, while Redis is away: they may come in between, and each of them once.
    """
    faults: list[str] = []
    highest: dict[str, int] = {}
    shared, left = "", set[str]()
    last = ""
    for frame in history.frames:
        if frame["type"] not in {"hello", "sync"}:
            continue
        epoch, _, number = frame["rev"].rpartition(".")
        if int(number) < highest.get(epoch, 0):
            faults.append(f"rev {frame['rev']} after {epoch}.{highest[epoch]}")
        if epoch in left or (_number(epoch) and epoch != shared and _number(epoch) <= _number(shared)):
            faults.append(f"epoch {epoch} after {last}")
        if last != epoch and last and not _number(last):
            left.add(last)
        highest[epoch], last = max(int(number), highest.get(epoch, 0)), epoch
        shared = epoch if _number(epoch) else shared
    return faults


def _number(epoch: str) -> int:
    return int(epoch.partition("-")[0] or 0)


def heads_in_order(history: History, pushed: Pushed) -> list[str]:
    """In order: a label's heads come as they were pushed, over all its topics, some left out."""
    faults: list[str] = []
    reached: dict[str, int] = {}
    for frame in history.changes:
        label, head = _label(frame), frame["head"]
        if head:
            start = reached.get(label, 0)
            if head not in pushed.heads[start:]:
                faults.append(f"{frame['topic']}: {head[:12]} after a later one")
            else:
                reached[label] = pushed.heads.index(head, start)
    return faults


def once(history: History, _pushed: Pushed) -> list[str]:
    """Each once: no document comes that the client holds already, and no staleness that it was told last."""
    faults: list[str] = []
    held = {topic: etag for topic, (etag, _) in history.held.items()} if history.by == "etags" else {}
    stale: dict[str, object] = {}
    for frame in history.changes:
        topic, told = frame["topic"], frame.get("stale", [])
        if frame["op"] in {"put", "patch"} and held.get(topic) == frame["etag"]:
            faults.append(f"{topic}: {frame['etag']} is told twice in a row")
        if frame["op"] == "state" and stale.get(topic) == told:
            faults.append(f"{topic}: a state is told twice in a row")
        held[topic] = "" if frame["op"] == "del" else frame["etag"]
        stale[topic] = told
    return faults


def whole(history: History, _pushed: Pushed) -> list[str]:
    """Atomic: between two `sync` one revision: a topic once, one head for a label, and nothing else in between."""
    faults: list[str] = []
    for group in history.groups():
        rev, topics = group[-1]["rev"], [frame["topic"] for frame in group[:-1]]
        if len(set(topics)) < len(topics):
            faults.append(f"a topic twice before {rev}")
        heads: dict[str, set[str]] = {}
        for frame in group[:-1]:
            heads.setdefault(_label(frame), set()).update({frame["head"]} - {""})
        faults += [f"{label}: two heads before {rev}" for label, found in heads.items() if len(found) > 1]
    kinds = [frame["type"] for frame in history.frames]
    faults += [
        f"{kinds[number + 1]} between a change and its sync"
        for number, kind in enumerate(kinds[:-1])
        if kind == "change" and kinds[number + 1] not in {"change", "sync", "error"}
    ]
    return faults


def closed(history: History, _pushed: Pushed) -> list[str]:
    """Closed by `sync`: when it comes all of its revision is told, so no other document of that revision follows.

    But for a topic that could not be served at first: an `error` said so.
    """
    faults: list[str] = []
    rev, late = "", _failed(history)
    for group in history.groups(since=history.answered):
        documents = {frame["topic"] for frame in group[:-1] if frame["op"] in {"put", "patch"}}
        if group[-1]["rev"] == rev and documents - late:
            faults.append(f"{sorted(documents - late)}: told after the sync of {rev}")
        rev = group[-1]["rev"]
    return faults


def alive(history: History, _pushed: Pushed) -> list[str]:
    """Never silent for long: three heartbeats without a frame would make the client give up."""
    patience = SILENCE * (history.frames[0].get("hb_ms", 0) if history.frames else 0) / 1000
    silences = [waited for waited in history.waits[2:] if waited > patience]
    return [f"nothing for {waited:.1f} s" for waited in silences]


def farewell(history: History, _pushed: Pushed) -> list[str]:
    """Told before it ends: `goodbye` is the last frame, and the close code is the one that it named."""
    kinds = [frame["type"] for frame in history.frames]
    if "goodbye" in kinds[:-1]:
        return ["frames after a goodbye"]
    if not kinds or history.end in {"", "cut"} or history.killed:
        return []
    last = history.frames[-1]
    if last["type"] != "goodbye":
        return [f"ended without a goodbye: {history.end}"]
    if history.end not in {"lost", str(last["code"])}:
        return [f"goodbye said {last['code']}, and then came {history.end}"]
    return []


def _label(frame: Frame) -> str:
    return str(frame["topic"].split("/", 2)[2])


def _failed(history: History) -> set[str]:
    return {frame.get("topic", "") for frame in history.frames if frame["type"] == "error"}
