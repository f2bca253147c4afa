"""The judges are judged: a good history passes them all, and each catches the fault that it is there for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.stress.history import Frame, History, sum_of
from tests.stress.validators import VALIDATORS, faults_of, no_gap

TOPIC, OTHER = "pay/prod/main", "shop/prod/main"
HEADS = [f"{number:040x}" for number in (1, 2, 3, 4)] + [f"{2:040x}"]
DOCUMENTS = [{"n": number, "list": [number]} for number in range(5)]


def etag(number: int) -> str:
    return f"{number:032x}"


def put(number: int, topic: str = TOPIC) -> Frame:
    doc = DOCUMENTS[number]
    head = HEADS[number]
    members = {"etag": etag(number), "version": head, "head": head, "keys": [], "doc": doc, "sum": sum_of(doc)}
    return {"type": "change", "topic": topic, "op": "put", **members}


def patch(number: int, base: int, topic: str = TOPIC) -> Frame:
    told = put(number, topic)
    del told["doc"]
    doc = DOCUMENTS[number]
    operations = [{"op": "replace", "path": f"/{key}", "value": value} for key, value in doc.items()]
    return {**told, "op": "patch", "base": etag(base), "patch": operations}


def sync(number: int, epoch: str = "1-00000000") -> Frame:
    return {"type": "sync", "rev": f"{epoch}.{number}", "ts": "2025-01-02T03:04:05Z"}


def state(number: int) -> Frame:
    head = HEADS[number]
    return {"type": "change", "topic": TOPIC, "op": "state", "etag": etag(1), "version": head, "head": head, "keys": []}


def recorded() -> History:
    frames: list[Frame] = [
        {"type": "hello", "conn": "c1", "rev": "1-00000000.1", "hb_ms": 1000},
        {"type": "subscribed", "topics": [TOPIC, OTHER], "mode": "changes"},
        put(0),
        put(0, OTHER),
        sync(1),
        patch(1, 0),
        patch(1, 0, OTHER),
        sync(2),
        sync(2),
        put(3),
        sync(4),
        patch(4, 3),
        sync(1, "2-00000000"),
        put(2),  # a connection that ends before the sync: dropped
    ]
    return History("a client", {}, frames)


def with_frames(change: Callable[[list[Frame]], object]) -> History:
    history = copy.deepcopy(recorded())
    change(history.frames)
    return history


def swap(frames: list[Frame], one: int, other: int) -> None:
    frames[one], frames[other] = frames[other], frames[one]


def corrupt(frame: Frame, **members: Any) -> None:
    frame.update(members)


#: fault -> (who must catch it, the history)
FAULTY: dict[str, tuple[str, History]] = {
    "a change lost before a patch": ("documents", with_frames(lambda f: f.pop(9))),
    "a change doubled": ("once", with_frames(lambda f: f.insert(8, patch(1, 1)))),
    "a document doubled": ("once", with_frames(lambda f: f.__setitem__(slice(10, 10), [sync(4), put(3)]))),
    "a document that was held at the beginning": (
        "once",
        History("a client", {TOPIC: (etag(0), DOCUMENTS[0])}, recorded().frames),
    ),
    "two revisions reordered": ("revisions", with_frames(lambda f: swap(f, 7, 10))),
    "two changes reordered": ("heads in order", with_frames(lambda f: swap(f, 2, 5))),
    "an older document after a newer one": ("heads in order", with_frames(lambda f: f.insert(12, put(2)))),
    "a head that nobody pushed": ("heads in order", with_frames(lambda f: corrupt(f[9], head="f" * 40))),
    "a revision backwards": ("revisions", with_frames(lambda f: f.insert(11, sync(3)))),
    "an epoch that comes back": ("revisions", with_frames(lambda f: f.insert(13, sync(9)))),
    "a revision torn in two by its head": ("whole", with_frames(lambda f: f.__setitem__(6, put(3, OTHER)))),
    "two revisions in one": ("whole", with_frames(lambda f: f.pop(7) and f.pop(7))),
    "a goodbye in the middle of a revision": (
        "whole",
        with_frames(lambda f: f.insert(6, {"type": "goodbye", "code": 1012, "retry_ms": 1})),
    ),
    "a document cut short": ("documents", with_frames(lambda f: corrupt(f[2], doc={"n": 0}))),
    "a number that became a text": ("documents", with_frames(lambda f: corrupt(f[2], doc={"n": "0", "list": [0]}))),
    "a patch from another base": ("documents", with_frames(lambda f: corrupt(f[5], base=etag(2)))),
    "a patch of something else": ("documents", with_frames(lambda f: corrupt(f[5], patch=[]))),
    "a patch that does not apply": (
        "documents",
        with_frames(lambda f: corrupt(f[5], patch=[{"op": "remove", "path": "/none"}])),
    ),
}


def test_a_good_history_passes_all_judges() -> None:
    assert faults_of([recorded()], HEADS) == []
    assert no_gap(recorded(), {TOPIC: etag(4), OTHER: etag(1)}) == []


@pytest.mark.parametrize(("name", "history"), FAULTY.values(), ids=FAULTY.keys())
def test_each_fault_is_caught_by_its_own_judge(name: str, history: History) -> None:
    assert VALIDATORS[name](history, HEADS) != []


def test_every_judge_has_a_fault_of_its_own() -> None:
    assert {name for name, _ in FAULTY.values()} == set(VALIDATORS)


@pytest.mark.parametrize(
    ("history", "lost"),
    [
        (with_frames(lambda f: f.__delitem__(slice(11, 13))), TOPIC),
        (with_frames(lambda f: f.__delitem__(slice(6, 7))), OTHER),
        (with_frames(lambda f: f.pop(12)), TOPIC),
        (History("a client"), TOPIC),
    ],
    ids=["the last change lost", "a change of one topic lost", "the last sync lost", "nothing ever told"],
)
def test_what_was_lost_is_a_gap_at_the_end(history: History, lost: str) -> None:
    faults = no_gap(history, {TOPIC: etag(4), OTHER: etag(1)})
    assert any(fault.startswith(lost) for fault in faults)


def test_a_state_tells_of_a_head_and_of_no_document() -> None:
    history = with_frames(lambda f: f.__setitem__(slice(8, 9), [state(2), sync(3)]))
    assert faults_of([history], HEADS) == []
    assert VALIDATORS["heads in order"](with_frames(lambda f: f.__setitem__(slice(8, 9), [state(0), sync(3)])), HEADS)


def test_a_history_is_written_down_and_read_back() -> None:
    history = History("a client", {TOPIC: (etag(0), DOCUMENTS[0])}, recorded().frames)
    assert History.loads(history.dumps()) == history
