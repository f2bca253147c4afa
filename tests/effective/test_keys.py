"""Key paths and their text, and the expansion of dotted and indexed keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.effective import as_written, key_text, parse_key
from app.effective.keys import shown
from app.model import Json, KeyPath
from tests.effective.folding import effective_of_yaml
from tests.effective.strategies import relaxed


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", ("a",)),
        ("a.b[0]", ("a", "b", 0)),
        ("a[0][1].b", ("a", 0, 1, "b")),
        ('["x.y"]', ("x.y",)),
        ('a["x.y"].z', ("a", "x.y", "z")),
        ("a.0", ("a", "0")),
        ("größe", ("größe",)),
        ('["a b"][2]', ("a b", 2)),
        ('[""]', ("",)),
        ('["\\"\\\\\\n"]', ('"\\\n',)),
        ('["\\u202e"]', ("\u202e",)),
        ("db-pool.max_size", ("db-pool", "max_size")),
    ],
)
def test_key_path_and_text_are_inverse(text: str, path: KeyPath) -> None:
    assert parse_key(text) == path
    assert key_text(path) == text


@pytest.mark.parametrize(
    ("text", "path"),
    [("a b.c", ("a b", "c")), ("a[x/y]", ("a", "x/y")), ("a[007]", ("a", "007")), ("https://x", ("https://x",))],
)
def test_lenient_spellings_are_understood(text: str, path: KeyPath) -> None:
    assert parse_key(text) == path


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a[", "a]", "a[]", 'a["x]', "a[0]b", "a.[0]", '["\\x"]'])
def test_what_is_no_key_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a key path"):
        parse_key(text)


segments = st.one_of(st.integers(0, 10**9), st.text(max_size=8))


@given(st.lists(segments, min_size=1, max_size=6).map(tuple))
@relaxed
def test_every_path_survives_its_text(path: KeyPath) -> None:
    assert parse_key(key_text(path)) == path


@given(st.lists(segments, min_size=1, max_size=4).map(tuple), st.lists(segments, min_size=1, max_size=4).map(tuple))
@relaxed
def test_different_paths_have_different_texts(one: KeyPath, other: KeyPath) -> None:
    assert (one == other) == (key_text(one) == key_text(other))


def test_shown_key_forges_no_line_and_fills_no_log() -> None:
    assert shown("a\nb\u202e") == '"a\\nb\\u202e"'
    assert len(shown("k" * 10_000)) < 200


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("a.b: 1\na.c: 2", {"a": {"b": 1, "c": 2}}),
        ("a[0]: 1\na[1]: 2", {"a": [1, 2]}),
        ("a: {'[0]': 1, '[1]': 2}", {"a": [1, 2]}),
        ("'[0]': 1", {"[0]": 1}),
        ("a[0][0]: 1\na[0][1]: 2", {"a": [[1, 2]]}),
        ("a: [{b.c: 1}]", {"a": [{"b": {"c": 1}}]}),
        ("a: {}\na.b: 1", {"a": {"b": 1}}),
        ("a: {b: {}}\na.b.c: 1", {"a": {"b": {"c": 1}}}),
        ("a.b: 1\na: 2", {"a": 2, "a.b": 1}),
        ("a: 2\na.b: 1", {"a": 2, "a.b": 1}),
        ("a.b.c: 1\na.b: 2\na: 3", {"a": 3, "a.b": 2, "a.b.c": 1}),
        ("a:\na.b: 1", {"a": None, "a.b": 1}),
        ("'': 1", {"": 1}),
        ("'a.': 1\n'.b': 2", {"a.": 1, ".b": 2}),
        ("'*.example.com': 1", {"*": {"example": {"com": 1}}}),
    ],
)
def test_keys_expand(text: str, config: Json) -> None:
    assert as_written(effective_of_yaml(text).values) == config
