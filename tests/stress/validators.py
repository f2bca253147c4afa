"""The promises of cfg.v1, one function each: histories in, faults out. Pure, so that recorded faults can be shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from tests.stress.history import Frame, History, after, sum_of

Validator: TypeAlias = Callable[[History, Sequence[str]], list[str]]


def revisions(history: History, _heads: Sequence[str]) -> list[str]:
    """In order: `rev` never goes back within an epoch, and an epoch that was left does not come back."""
    faults: list[str] = []
    left: set[str] = set()
    epoch, seq = "", 0
    for frame in history.frames:
        if frame["type"] not in {"hello", "sync"}:
            continue
        its_epoch, _, number = frame["rev"].rpartition(".")
        if its_epoch in left:
            faults.append(f"epoch {its_epoch} comes back")
        if its_epoch == epoch and int(number) < seq:
            faults.append(f"rev {frame['rev']} after {epoch}.{seq}")
        if its_epoch != epoch and epoch:
            left.add(epoch)
        epoch, seq = its_epoch, int(number)
    return faults


def heads_in_order(history: History, heads: Sequence[str]) -> list[str]:
    """In order: a topic's heads come as they were pushed (`heads`; one may be there twice), some left out."""
    faults: list[str] = []
    reached: dict[str, int] = {}
    for frame in _changes(history):
        topic, head = frame["topic"], frame["head"]
        if head:
            start = reached.get(topic, 0)
            if head not in heads[start:]:
                faults.append(f"{topic}: {head[:12]} after a later one")
            else:
                reached[topic] = heads.index(head, start)
    return faults


def once(history: History, _heads: Sequence[str]) -> list[str]:
    """Each once: no document comes that the client holds already."""
    faults: list[str] = []
    held = {topic: etag for topic, (etag, _) in history.held.items()}
    for frame in _changes(history):
        topic = frame["topic"]
        if frame["op"] in {"put", "patch"}:
            if held.get(topic) == frame["etag"]:
                faults.append(f"{topic}: {frame['etag']} is told twice in a row")
            held[topic] = frame["etag"]
        elif frame["op"] == "del":
            held.pop(topic, None)
    return faults


def whole(history: History, _heads: Sequence[str]) -> list[str]:
    """Atomic: between two `sync` one revision: a topic once, one head for a label, and nothing else in between."""
    faults: list[str] = []
    for group in history.groups():
        changes = group[:-1]
        topics = [frame["topic"] for frame in changes]
        if len(set(topics)) < len(topics):
            faults.append(f"a topic twice before {group[-1]['rev']}")
        by_label: dict[str, set[str]] = {}
        for frame in changes:
            if frame["head"]:
                by_label.setdefault(frame["topic"].split("/", 2)[2], set()).add(frame["head"])
        faults += [
            f"{label}: two heads before {group[-1]['rev']}" for label, found in by_label.items() if len(found) > 1
        ]
    kinds = [frame["type"] for frame in history.frames]
    faults += [
        f"{kinds[number + 1]} between a change and its sync"
        for number, kind in enumerate(kinds[:-1])
        if kind == "change" and kinds[number + 1] not in {"change", "sync", "error"}
    ]
    return faults


def documents(history: History, _heads: Sequence[str]) -> list[str]:
    """Right: every document has its `sum`, every patch starts at what is held and makes what its `sum` says."""
    faults: list[str] = []
    held = dict(history.held)
    for group in history.groups():
        for change in group[:-1]:
            try:
                held = after(held, [change])
            except ValueError as fault:
                faults.append(str(fault))
                continue
            if change["op"] in {"put", "patch"} and sum_of(held[change["topic"]][1]) != change["sum"]:
                faults.append(f"{change['topic']}: not the document of its sum")
    return faults


def no_gap(history: History, standing: Mapping[str, str]) -> list[str]:
    """Nothing lost: at the end, after the last `sync`, the client holds the etag at which each topic stands."""
    held = {topic: etag for topic, (etag, _) in history.held.items()}
    for group in history.groups():
        for change in group[:-1]:
            if change["op"] in {"put", "patch"}:
                held[change["topic"]] = change["etag"]
            elif change["op"] == "del":
                held.pop(change["topic"], None)
    return [
        f"{topic}: holds {held.get(topic)}, and it stands at {etag}"
        for topic, etag in standing.items()
        if held.get(topic) != etag
    ]


VALIDATORS: Mapping[str, Validator] = {
    "revisions": revisions,
    "heads in order": heads_in_order,
    "once": once,
    "whole": whole,
    "documents": documents,
}


def faults_of(histories: Sequence[History], heads: Sequence[str]) -> list[str]:
    """Every fault of every connection, with the promise that it breaks."""
    return [
        f"{history.client} [{name}] {fault}"
        for history in histories
        for name, validator in VALIDATORS.items()
        for fault in validator(history, heads)
    ]


def _changes(history: History) -> list[Frame]:
    """The changes that a client applied; what no `sync` has closed is dropped with the connection."""
    return [frame for group in history.groups() for frame in group[:-1]]
