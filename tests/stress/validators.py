"""The promises of cfg.v1, all judges of them in one table. Pure, so that recorded faults can be shown to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from tests.stress import contents, ordering
from tests.stress.history import History, Pushed

Validator: TypeAlias = Callable[[History, Pushed], list[str]]

VALIDATORS: Mapping[str, Validator] = {
    "revisions": ordering.revisions,
    "heads in order": ordering.heads_in_order,
    "once": ordering.once,
    "whole": ordering.whole,
    "closed": ordering.closed,
    "alive": ordering.alive,
    "farewell": ordering.farewell,
    "documents": contents.documents,
    "versions": contents.versions,
    "patches": contents.patches,
    "resumed": contents.resumed,
}


def faults_of(histories: Sequence[History], pushed: Pushed) -> list[str]:
    """Every fault of every connection, with the promise that it breaks."""
    return [
        f"{history.client} [{name}] {fault}"
        for history in histories
        for name, validator in VALIDATORS.items()
        for fault in validator(history, pushed)
    ]


def no_gap(history: History, standing: Mapping[str, str]) -> list[str]:
    """Nothing lost: at the end, after the last `sync`, the client holds the etag at which each topic stands."""
    held = {topic: etag for topic, (etag, _) in history.held.items()}
    for change in history.changes:
        if change["op"] in {"put", "patch"}:
            held[change["topic"]] = change["etag"]
        elif change["op"] == "del":
            held.pop(change["topic"], None)
    return [
        f"{topic}: holds {held.get(topic)}, and it stands at {etag}"
        for topic, etag in standing.items()
        if held.get(topic) != etag
    ]


def conflated(history: History, topic: str, revisions: int) -> list[str]:
    """Not queued: who did not read while `revisions` were announced is told fewer documents than that."""
    told = sum(frame["topic"] == topic and frame["op"] in {"put", "patch"} for frame in history.changes)
    return [f"{topic}: all {told} documents, though it did not read"] if told >= revisions else []
