"""The patch between two documents, judged by a library that implements RFC 6902 on its own."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.effective import canonical, patch
from app.effective.diff import same
from app.model import Json
from tests.effective.strategies import unhurried

KEYS = st.sampled_from(["a", "b", "", "x/y", "m~n", "~1", "0", "-", "ключ"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.floats(-2, 2), st.sampled_from(["", "1", "true", "grüße"])
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=5)


def applied(document: Json, operations: list[dict[str, Json]]) -> Any:
    return jsonpatch.JsonPatch(operations).apply(copy.deepcopy(document))


@unhurried
@given(DOCUMENTS, DOCUMENTS)
def test_a_patch_makes_the_new_document_type_for_type(old: dict[str, Json], new: dict[str, Json]) -> None:
    made = applied(old, patch(old, new))
    assert same(made, new), (made, new)
    assert canonical(made) == canonical(new)


@unhurried
@given(DOCUMENTS)
def test_equal_documents_need_no_operation(document: dict[str, Json]) -> None:
    assert patch(document, copy.deepcopy(document)) == []


@unhurried
@given(DOCUMENTS, DOCUMENTS)
def test_neither_document_is_changed_and_the_same_two_give_the_same_patch(
    old: dict[str, Json], new: dict[str, Json]
) -> None:
    before = copy.deepcopy((old, new))
    assert patch(old, new) == patch(old, new)
    assert same([old, new], list(before))


@unhurried
@given(DOCUMENTS, DOCUMENTS)
def test_only_three_operations_are_used_and_none_reaches_into_an_array(
    old: dict[str, Json], new: dict[str, Json]
) -> None:
    for operation in patch(old, new):
        assert operation["op"] in {"add", "remove", "replace"}
        assert ("value" in operation) == (operation["op"] != "remove")
        parent: Any = old
        *parents, _ = str(operation["path"]).split("/")[1:]
        for part in parents:
            assert isinstance(parent, dict)
            parent = parent[part.replace("~1", "/").replace("~0", "~")]
        assert isinstance(parent, dict), "arrays are replaced whole"


@pytest.mark.parametrize(
    ("old", "new", "operations"),
    [
        ({"a": 1}, {"a": True}, [{"op": "replace", "path": "/a", "value": True}]),
        ({"a": 1}, {"a": 1.0}, [{"op": "replace", "path": "/a", "value": 1.0}]),
        ({"a": "1"}, {"a": 1}, [{"op": "replace", "path": "/a", "value": 1}]),
        ({"a": None}, {}, [{"op": "remove", "path": "/a"}]),
        ({}, {"a": None}, [{"op": "add", "path": "/a", "value": None}]),
        ({"a": [1, 2]}, {"a": [1, 3]}, [{"op": "replace", "path": "/a", "value": [1, 3]}]),
        ({"a": [{"b": 1}]}, {"a": [{"b": True}]}, [{"op": "replace", "path": "/a", "value": [{"b": True}]}]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, [{"op": "replace", "path": "/a/c", "value": 3}]),
        ({"a": {"b": 1}}, {"a": 1}, [{"op": "replace", "path": "/a", "value": 1}]),
        ({"x/y": {"m~n": 1}}, {"x/y": {"m~n": 2}}, [{"op": "replace", "path": "/x~1y/m~0n", "value": 2}]),
        ({"": {"": 1}}, {"": {}}, [{"op": "remove", "path": "//"}]),
        ({"b": 1, "a": 1}, {"a": 1, "b": 1}, []),
    ],
)
def test_a_difference_is_told_by_its_smallest_operations(
    old: dict[str, Json], new: dict[str, Json], operations: list[dict[str, Json]]
) -> None:
    assert patch(old, new) == operations
    assert same(applied(old, operations), new)
