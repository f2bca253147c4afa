"""Revs, epochs and cursors as values: pure."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model import RefKind
from app.notify import Announced, Cursor, Hold, LabelHead, Rev, host_epoch, new_epoch, now_text
from app.notify.cursor import HISTORY, dump_known, load_known, secret_path
from app.secrets import Known
from tests.notify.values import AT, DATABASE, commit, cursor, head

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "rev"),
    [
        ("1-0a.7", Rev("1-0a", 7)),
        ("a.b.7", Rev("a.b", 7)),
        ("1-0a.0", Rev("1-0a", 0)),
        ("", None),
        ("7", None),
        (".7", None),
        ("1-0a.", None),
        ("1-0a.x", None),
        ("1-0a.-7", None),
        ("1-0a. 7", None),
        ("1-0a.²", None),
        ("1-0a.٧", None),
        ("1-0a." + "9" * 19, None),
    ],
)
def test_a_rev_is_read_from_its_wire_form_alone(text: str, rev: Rev | None) -> None:
    assert Rev.parse(text) == rev


@given(st.text(min_size=1), st.integers(0, 10**18 - 1))
def test_every_rev_is_read_back(epoch: str, seq: int) -> None:
    assert Rev.parse(str(Rev(epoch, seq))) == Rev(epoch, seq)


@given(st.text())
def test_no_text_breaks_the_reading_of_a_rev(text: str) -> None:
    rev = Rev.parse(text)
    assert rev is None or rev.seq >= 0


@pytest.mark.parametrize(
    ("epoch", "seq", "behind"),
    [
        ("2-bbbbbbbb", 5, False),
        ("2-bbbbbbbb", 6, False),
        ("2-bbbbbbbb", 4, True),
        ("3-00000000", 1, False),
        ("2-cccccccc", 99, True),
        ("1-ffffffff", 99, True),
        ("0-ffffffff", 99, True),
        ("10-00000000", 1, False),
        ("nonsense", 99, True),
        ("²-00000000", 99, True),
        ("9" * 5000, 99, True),
    ],
)
def test_less_than_what_was_seen_is_behind(epoch: str, seq: int, behind: bool) -> None:
    assert cursor(seq, epoch).is_behind(Rev("2-bbbbbbbb", 5)) is behind
    assert not cursor(seq, epoch).is_behind(None), "who has seen nothing takes all"


def test_a_new_epoch_ranks_above_the_last_and_differs_from_every_other() -> None:
    first, second = new_epoch(), new_epoch()
    assert first != second
    assert not cursor(1, new_epoch(after=first)).is_behind(Rev(first, 10**6))
    assert cursor(10**6, second).is_behind(Rev(first, 1)), "two makers at once: one of them begins a third"
    assert new_epoch(after="99-00000000").startswith("100-")


def test_a_host_epoch_ranks_below_every_shared_one() -> None:
    assert cursor(10**6, host_epoch()).is_behind(Rev(new_epoch(), 1))
    assert not cursor(1, new_epoch()).is_behind(Rev(host_epoch(), 10**6))


def test_a_label_remembers_so_many_former_heads_the_newest_first() -> None:
    label = head(0)
    for number in range(1, HISTORY + 5):
        label = label.moved(RefKind.BRANCH, commit(number), f"at {number}")
    assert len(label.former) == HISTORY
    assert label.former[0] == Announced(commit(HISTORY + 3), f"at {HISTORY + 3}")


def test_a_deleted_label_that_comes_back_remembers_what_it_was() -> None:
    gone = head(1).moved(RefKind.BRANCH, None, "later")
    assert gone.former == (Announced(commit(1), AT),)
    assert gone.moved(RefKind.TAG, commit(2), "last") == LabelHead(RefKind.TAG, commit(2), 0, "last", gone.former)


def test_a_cursor_is_read_back_whole() -> None:
    tag = LabelHead(RefKind.TAG, commit(3), 4, AT, (Announced(commit(2), AT),))
    whole = cursor(9, labels={"main": head(1), "gone": head(None), "v1": tag})
    assert Cursor.loads(whole.dumps()) == whole


@pytest.mark.parametrize(
    "damage",
    [
        {"v": 2},
        {"v": None},
        {"seq": "7"},
        {"seq": -1},
        {"epoch": ""},
        {"default_label": 5},
        {"labels": []},
        {"labels": {"main": 5}},
        {"labels": {"main": {**head(1).as_json(), "v": 2}}},
        {"labels": {"main": {**head(1).as_json(), "head": "--output=x"}}},
        {"secrets": {"kv/x": "[]"}},
        {"secrets": {"kv/x": 5}},
        {"secrets": None},
    ],
)
def test_anything_but_a_cursor_of_this_schema_is_a_value_error(damage: dict[str, Any]) -> None:
    whole = json.loads(cursor().dumps())
    for damaged in ({**whole, **damage}, {name: value for name, value in whole.items() if name not in damage}):
        with pytest.raises(ValueError, match=r".+"):
            Cursor.loads(json.dumps(damaged))


@given(JSON)
def test_no_json_breaks_the_reading_of_a_cursor(value: Any) -> None:
    text = json.dumps(value)
    for loads in (Cursor.loads, LabelHead.loads):
        with pytest.raises(ValueError, match=r".+"):
            loads(text)
    try:
        known = load_known(text)
    except ValueError:
        return
    assert load_known(dump_known(known)) == known, "now and then three values are drawn that are a version"


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, b"\xff", "7", '"x"', "[]", '{"v": 1}'])
def test_no_text_breaks_the_reading_of_a_cursor(text: str | bytes) -> None:
    for loads in (Cursor.loads, LabelHead.loads, load_known):
        with pytest.raises(ValueError, match=r".+"):
            loads(text)


@given(st.integers(0, 10**9), st.text(), st.booleans())
def test_the_version_of_a_secret_has_one_form_and_is_read_back(version: int, digest: str, gone: bool) -> None:
    known = Known(version, digest, gone)
    assert load_known(dump_known(known)) == known
    assert dump_known(load_known(dump_known(known))) == dump_known(known)


def test_the_path_of_a_secret_is_read_back_from_its_text() -> None:
    assert secret_path(str(DATABASE)) == DATABASE


def test_the_time_is_told_in_utc_to_the_millisecond() -> None:
    assert now_text().endswith("Z")
    assert len(now_text()) == len(AT)


HOLD = Hold("c" * 40, 1_800_000_000.5, "2026-11-26T00:00:00.000Z", 'INC-7: "@seq"')


def test_hold_is_kept_as_it_is_by_moves_and_ends_with_the_branch() -> None:
    standing = LabelHead(RefKind.BRANCH, "a" * 40, 3, AT, hold=HOLD)
    assert LabelHead.loads(json.dumps(standing.as_json())) == standing
    assert standing.moved(RefKind.BRANCH, "b" * 40, "later").hold == HOLD
    assert standing.moved(RefKind.BRANCH, None, "later").hold is None


@pytest.mark.parametrize(
    "hold", [1, [], ["c" * 40], ["x", 1, "at", "why"], ["c" * 40, "1", "at", "why"], ["c" * 40, 1, "at", None], {}]
)
def test_damaged_hold_is_none_and_takes_nothing_else_away(hold: object) -> None:
    standing = LabelHead(RefKind.BRANCH, "a" * 40, 3, AT)
    assert LabelHead.loads(json.dumps({**standing.as_json(), "hold": hold})) == standing
