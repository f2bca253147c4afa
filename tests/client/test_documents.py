"""The pure parts of the client, held against the server's own and against what the RFCs say."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.effective import canonical as server_canonical
from app.effective import changed_keys
from app.effective import patch as server_patch
from app.effective.env_format import render_env
from app.effective.properties_format import leaves
from app.errors import FormatCollision, Unprocessable
from config_client import keys
from config_client.canonical import canonical
from config_client.document import Revs
from config_client.env_names import lines, variables
from config_client.frozen import frozen
from config_client.patch import applied
from config_client.sse import EventReader
from tests.effective.strategies import documents, nodes, relaxed


@relaxed
@given(nodes)
def test_the_canonical_form_is_the_servers(value: Any) -> None:
    assert canonical(value) == server_canonical(value).decode()


@pytest.mark.parametrize(
    ("number", "text"),
    [(1e21, "1e+21"), (1e20, "100000000000000000000"), (1e-7, "1e-7"), (1e-6, "0.000001"), (-0.0, "0"), (4.5, "4.5"),
     (333333333.33333329, "333333333.3333333"), (1e23, "1e+23"), (2**63, "9223372036854776000"), (-1.5e-9, "-1.5e-9")],
)  # fmt: skip
def test_numbers_are_written_as_javascript_writes_them(number: float, text: str) -> None:
    assert canonical(number) == text


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_what_is_no_number_of_json_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="not a number"):
        canonical(number)


@relaxed
@given(documents, documents)
def test_a_patch_of_the_server_makes_the_new_document_and_leaves_the_old_one(old: Any, new: Any) -> None:
    before = copy.deepcopy(old)
    made = applied(old, server_patch(old, new))
    assert canonical(made) == canonical(new)
    assert json.dumps(old) == json.dumps(before)


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": ""},
        {"op": "replace", "path": "/nope", "value": 1},
        {"op": "remove", "path": "/nope"},
        {"op": "add", "path": "/a/b/c", "value": 1},
        {"op": "replace", "path": "/list/7", "value": 1},
        {"op": "replace", "path": "/list/x", "value": 1},
    ],
    ids=lambda operation: f"{operation['op']} {operation['path']}",
)
def test_a_patch_that_leads_nowhere_is_refused(operation: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"patch|invalid literal"):
        applied({"a": {}, "list": [1]}, [operation])


@relaxed
@given(documents, documents)
def test_the_keys_that_changed_are_those_that_the_server_names(old: Any, new: Any) -> None:
    assert set(keys.changed(old, new)) == set(changed_keys(old, new))


@relaxed
@given(documents)
def test_each_leaf_is_found_by_its_key(document: Any) -> None:
    for path, value in keys.leaves(document):
        if path:
            assert keys.parse(keys.text_of(path)) == path
            assert keys.find(document, keys.text_of(path)) is value


@pytest.mark.parametrize("text", ["nope", "db.nope", "db.pool.x", "hosts[9]", "hosts.x", "..", "db.", "[x]", "db[0]"])
def test_a_key_that_is_not_there_is_a_key_error(text: str) -> None:
    with pytest.raises(KeyError):
        keys.find({"db": {"pool": 5}, "hosts": ["a"]}, text)


def test_null_is_a_value() -> None:
    assert keys.find({"db": {"pool": None}}, "db.pool") is None


@pytest.mark.parametrize(
    ("pattern", "key", "found"),
    [
        ("db.*", "db.pool", True),
        ("db.*", "db", True),
        ("db.*", "db[0]", True),
        ("db.*", "dbx.pool", False),
        ("db", "db.pool", True),
        ("db", "dbx", False),
        ("db.pool", "db.pool.max", True),
        ("db.pool", "db.pools", False),
        ("*", "anything.at.all", True),
        ("*.timeout", "http.client.timeout", True),
        ("*.timeout", "timeout", False),
        ("hosts", "hosts[3]", True),
        ("a.?", "a.b", True),
    ],
)
def test_patterns_name_keys_and_what_is_below_them(pattern: str, key: str, found: bool) -> None:
    assert keys.matches(pattern, key) == found


@relaxed
@given(documents)
def test_variables_are_the_servers(document: Any) -> None:
    try:
        text = render_env(leaves(document))
    except (FormatCollision, Unprocessable):
        with pytest.raises(ValueError, match=r"both become|cannot hold"):
            variables(document)
    else:
        assert lines(variables(document)) == text


def test_two_keys_that_become_one_variable_are_refused() -> None:
    with pytest.raises(ValueError, match="both become A_B"):
        variables({"a": {"b": 1}, "a-b": 2})


def test_a_frozen_document_reads_like_a_dict_and_is_written_by_nobody() -> None:
    document = frozen({"db": {"pool": 5}, "hosts": ["a"]})
    assert document == {"db": {"pool": 5}, "hosts": ["a"]}
    assert json.loads(json.dumps(document)) == document
    with pytest.raises(TypeError, match="not changed in place"):
        document["db"] = 1
    with pytest.raises(TypeError, match="not changed in place"):
        document["hosts"].append("b")
    with pytest.raises(TypeError, match="not changed in place"):
        document["db"].update(pool=6)
    own = copy.deepcopy(document)
    own["hosts"].append("b")
    assert document["hosts"] == ["a"]


def test_an_older_rev_of_the_same_epoch_is_known_and_another_epoch_is_not_compared() -> None:
    revs = Revs()
    revs.saw("1-aaaaaaaa.7")
    revs.saw("0-bbbbbbbb.2")
    assert revs.is_older("1-aaaaaaaa.6")
    assert not revs.is_older("1-aaaaaaaa.7")
    assert not revs.is_older("2-cccccccc.1")
    assert revs.last == "0-bbbbbbbb.2"


@given(st.lists(st.integers(1, 7), min_size=1, max_size=40))
def test_events_are_read_wherever_the_network_cuts_them(sizes: list[int]) -> None:
    stream = 'event: hello\r\ndata: {"n":1}\r\n\r\n: a comment\n\nid: 7\nevent: sync\ndata: ä\ndata:b\n\n'.encode()
    reader, found, position = EventReader(), [], 0
    for size in [*sizes, len(stream)]:
        found += reader.feed(stream[position : position + size])
        position += size
    assert found == ['{"n":1}', "ä\nb"]


def test_an_endless_event_is_refused() -> None:
    reader = EventReader(most=100)
    with pytest.raises(ValueError, match="larger"):
        reader.feed(b"data: " + b"x" * 200)
