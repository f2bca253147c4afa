"""The judges are judged: a good history passes them all, and each catches the fault that it is there for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.stress.history import Frame, History, Pushed, sum_of
from tests.stress.validators import VALIDATORS, conflated, faults_of, no_gap

TOPIC, OTHER = "pay/prod/main", "shop/prod/main"
FILLING = {f"key{number}": "a value that stays as it is" for number in range(9)}
DOCUMENTS = [{**FILLING, "n": number, "list": [number]} for number in range(5)]
#: The last one is the second again: a forced push. The fourth is bad for OTHER.
HEADS = [f"{number:040x}" for number in (1, 2, 3, 4)] + [f"{2:040x}"]
PUSHED = Pushed(
    HEADS,
    {
        head: {TOPIC: DOCUMENTS[number], OTHER: DOCUMENTS[number] if number != 3 else None}
        for number, head in enumerate(HEADS[:4])
    },
)
MAIN = "1-00000000"


def etag(number: int) -> str:
    return f"{number:032x}"


def put(number: int, topic: str = TOPIC) -> Frame:
    doc, head = DOCUMENTS[number], HEADS[number]
    members = {"etag": etag(number), "version": head, "head": head, "keys": [*doc], "doc": doc, "sum": sum_of(doc)}
    return {"type": "change", "topic": topic, "op": "put", **members}


def patch(number: int, base: int, topic: str = TOPIC) -> Frame:
    told = put(number, topic)
    doc = told.pop("doc")
    operations = [{"op": "replace", "path": f"/{key}", "value": doc[key]} for key in ("n", "list")]
    return {**told, "op": "patch", "base": etag(base), "patch": operations, "keys": ["n", "list[0]"]}


def held_back(number: int, head: int, op: str = "state") -> Frame:
    """`number` is served for a head that is bad."""
    told = patch(number, number, OTHER) if op == "patch" else {**put(number, OTHER), "op": op}
    for member in ("doc", "sum") if op == "state" else ():
        del told[member]
    stale = [{"reason": "invalid", "since": "2025-01-02T03:04:05Z", "head": HEADS[head], "detail": "line 1"}]
    return {**told, "head": HEADS[head], "stale": stale}


def sync(number: int, epoch: str = MAIN) -> Frame:
    return {"type": "sync", "rev": f"{epoch}.{number}", "ts": "2025-01-02T03:04:05Z"}


def subscribed(mode: str, *topics: str) -> Frame:
    return {"type": "subscribed", "topics": list(topics or (TOPIC, OTHER)), "mode": mode}


GOODBYE = {"type": "goodbye", "code": 1012, "retry_ms": 1}
ERROR = {"type": "error", "code": "repository-unavailable", "topic": OTHER, "retry": True}
HELLO = {"type": "hello", "conn": "c1", "rev": f"{MAIN}.1", "hb_ms": 1000}


def of(*frames: Frame, **more: Any) -> History:
    """A connection that was told these frames after its hello."""
    told = copy.deepcopy([HELLO, *frames])
    return History("a client", **{"frames": told, "topics": (TOPIC, OTHER), "waits": [0.1] * len(told), **more})


#: All that may happen on one connection, and nothing that may not. The last change is dropped with the connection.
GOOD = (
    subscribed("full"),
    put(0),
    put(0, OTHER),
    sync(1),
    patch(1, 0),
    patch(1, 0, OTHER),
    sync(2),
    sync(2),
    patch(2, 1),
    sync(3),
    sync(1, "0-99999999"),
    sync(3),
    patch(3, 2),
    held_back(1, 3),
    sync(4),
    patch(1, 3),
    sync(1, "2-00000000"),
    put(2),
)


def recorded() -> History:
    return of(*GOOD)


def changed(number: int, **members: Any) -> History:
    """The good history with other members in one frame (counted after hello)."""
    history = recorded()
    history.frames[number + 1].update(members)
    return history


def edited(edit: Callable[[list[Frame]], object]) -> History:
    frames = [*GOOD]
    edit(frames)
    return of(*frames)


def swapped(one: int, other: int) -> History:
    def swap(frames: list[Frame]) -> None:
        frames[one], frames[other] = frames[other], frames[one]

    return edited(swap)


def resumed(*frames: Frame, by: str = "etags", **held: int) -> History:
    """A connection of a client that holds these documents of `pay` and `shop`."""
    topics = {"pay": TOPIC, "shop": OTHER}
    holding = {topics[name]: (etag(number), DOCUMENTS[number]) for name, number in held.items()}
    return of(*frames, held=holding, by=by)


def ended(end: str, *last: Frame, **more: Any) -> History:
    return of(*GOOD[:4], *last, end=end, **more)


#: fault -> (who must catch it, the history)
FAULTY: dict[str, tuple[str, History]] = {
    "a revision backwards": ("revisions", edited(lambda f: f.insert(8, sync(1)))),
    "two revisions reordered": ("revisions", swapped(3, 6)),
    "an epoch of before": ("revisions", edited(lambda f: f.insert(17, sync(9)))),
    "another epoch of the same number": ("revisions", edited(lambda f: f.insert(8, sync(9, "1-99999999")))),
    "a host's own epoch for the second time": ("revisions", edited(lambda f: f.insert(12, sync(2, "0-99999999")))),
    "a shared epoch that went back meanwhile": ("revisions", edited(lambda f: f.insert(11, sync(2)))),
    "two changes reordered": ("heads in order", swapped(4, 8)),
    "an older head of another topic after a newer one": (
        "heads in order",
        edited(lambda f: f.insert(9, put(0, OTHER))),
    ),
    "a head that nobody pushed": ("heads in order", changed(8, head="f" * 40)),
    "a change doubled": ("once", edited(lambda f: f.insert(7, patch(1, 1)))),
    "a document doubled": ("once", edited(lambda f: f.__setitem__(slice(10, 10), [put(2), sync(3)]))),
    "a document that was held at the beginning": ("once", resumed(*GOOD, pay=0)),
    "a state doubled": ("once", edited(lambda f: f.__setitem__(slice(15, 15), [held_back(1, 3), sync(4)]))),
    "a revision torn in two by its head": ("whole", edited(lambda f: f.__setitem__(5, patch(2, 0, OTHER)))),
    "two revisions in one": ("whole", edited(lambda f: f.__delitem__(slice(6, 8)))),
    "a goodbye in the middle of a revision": ("whole", edited(lambda f: f.insert(5, GOODBYE))),
    "a revision torn in two by a sync": ("closed", edited(lambda f: f.insert(5, sync(2)))),
    "silence": ("alive", of(*GOOD, waits=[0.1] * 6 + [3.5] + [0.1] * 12)),
    "an end without a word": ("farewell", ended("lost")),
    "a close without a goodbye": ("farewell", ended("1012")),
    "a close that is not the one announced": ("farewell", ended("1011", GOODBYE)),
    "something after the goodbye": ("farewell", ended("1012", GOODBYE, sync(1))),
    "a change lost before a patch": ("documents", edited(lambda f: f.pop(4))),
    "a document cut short": ("documents", changed(1, doc={"n": 0})),
    "a number that became a text": ("documents", changed(1, doc={**DOCUMENTS[0], "n": "0"})),
    "a document of another commit": ("documents", changed(1, version=HEADS[1])),
    "a patch from another base": ("documents", changed(4, base=etag(2))),
    "a patch of something else": ("documents", changed(4, patch=[])),
    "a patch that does not apply": ("documents", changed(4, patch=[{"op": "remove", "path": "/none"}])),
    "a changed key that is not named": ("documents", changed(4, keys=["n"])),
    "an old document for a new head": ("versions", changed(8, version=HEADS[1])),
    "a good head that is held back": ("versions", edited(lambda f: f.__setitem__(13, held_back(1, 2)))),
    "a patch as large as the document": (
        "patches",
        changed(4, patch=[{"op": "add", "path": "/n", "value": "x" * 300}]),
    ),
    "a document where a patch would do": ("patches", edited(lambda f: f.__setitem__(4, put(1)))),
    "a patch that was not asked for": ("patches", of(*GOOD, patches=False)),
    "no hello": ("resumed", edited(lambda f: f.insert(0, HELLO))),
    "a topic of which nothing is told": ("resumed", edited(lambda f: f.pop(2))),
    "changes before the subscription": ("resumed", edited(lambda f: f.pop(0))),
    "a wrong mode": ("resumed", changed(0, mode="changes")),
    "none, and then a change": ("resumed", resumed(subscribed("none"), patch(1, 0), sync(2), pay=0, shop=0)),
    "changes, and then none": ("resumed", resumed(subscribed("changes"), sync(2), pay=0, shop=0)),
    "half of what a wrong digest asks for": (
        "resumed",
        resumed(subscribed("changes"), put(1), sync(2), by="digest", pay=0, shop=0),
    ),
}

GOOD_ONES: dict[str, History] = {
    "all that may happen": recorded(),
    "nothing has changed": resumed(subscribed("none"), sync(1), sync(1), pay=0, shop=0),
    "one of two has changed": resumed(subscribed("changes"), patch(1, 0), sync(2), pay=0, shop=1),
    "the server has forgotten what is held": resumed(subscribed("changes"), put(1), sync(2), pay=0, shop=1),
    "heartbeats before the subscription": of(sync(1), sync(1), *GOOD),
    "heartbeats, and an end before the subscription": of(sync(1), sync(1), end="cut"),
    "the digest is right": resumed(subscribed("none"), sync(1), by="digest", pay=0, shop=0),
    "the digest is wrong": resumed(subscribed("full"), put(1), put(1, OTHER), sync(2), by="digest", pay=0, shop=1),
    "the digest is right, and one is held back": resumed(
        subscribed("changes"), held_back(1, 3), sync(4), by="digest", pay=3, shop=1
    ),
    "one cannot be served at first": of(subscribed("changes"), put(0), ERROR, sync(1), put(0, OTHER), sync(1)),
    "whole documents for who takes no patches": of(
        subscribed("full"), put(0), put(0, OTHER), sync(1), put(1), sync(2), patches=False
    ),
    "told of the end": ended("1012", GOODBYE),
    "told of the end of an event stream": ended("lost", GOODBYE),
    "cut by the client": ended("cut"),
    "its worker was killed": ended("lost", killed=True),
    "it never began": History("a client", end="lost"),
}


@pytest.mark.parametrize("history", GOOD_ONES.values(), ids=GOOD_ONES.keys())
def test_a_good_history_passes_all_judges(history: History) -> None:
    assert faults_of([history], PUSHED) == []


@pytest.mark.parametrize(("name", "history"), FAULTY.values(), ids=FAULTY.keys())
def test_each_fault_is_caught_by_its_own_judge(name: str, history: History) -> None:
    assert VALIDATORS[name](history, PUSHED) != []


def test_every_judge_has_a_fault_of_its_own() -> None:
    assert {name for name, _ in FAULTY.values()} == set(VALIDATORS)


@pytest.mark.parametrize(
    ("history", "lost"),
    [
        (edited(lambda f: f.__delitem__(slice(15, 17))), TOPIC),
        (edited(lambda f: f.pop(5)), OTHER),
        (edited(lambda f: f.pop(16)), TOPIC),
        (History("a client"), TOPIC),
    ],
    ids=["the last change lost", "a change of one topic lost", "the last sync lost", "nothing ever told"],
)
def test_what_was_lost_is_a_gap_at_the_end(history: History, lost: str) -> None:
    faults = no_gap(history, {TOPIC: etag(1), OTHER: etag(1)})
    assert any(fault.startswith(lost) for fault in faults)


def test_what_was_told_or_held_leaves_no_gap() -> None:
    assert no_gap(recorded(), {TOPIC: etag(1), OTHER: etag(1)}) == []
    assert no_gap(resumed(subscribed("none"), sync(1), pay=1, shop=0), {TOPIC: etag(1), OTHER: etag(0)}) == []


def test_a_queue_is_told_from_conflation() -> None:
    assert conflated(recorded(), TOPIC, 5) != []
    assert conflated(recorded(), TOPIC, 6) == []


def test_a_history_is_written_down_and_read_back() -> None:
    history = resumed(*GOOD, pay=0)
    assert History.loads(history.dumps()) == history
