"""Spring's rules where the table has no case: any keys make a tree, bounds hold, no secret is looked at again."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.effective import SPRING_FORMATS, SpringPlaceholders, merged, parse, spring_leaves
from app.effective.limits import Malformed
from app.effective.placeholders import BadPlaceholder
from app.effective.spring_flat import flattened
from app.effective.spring_formats import nested
from app.model import Json, Node, Reference, Template
from tests.effective.strategies import unhurried

KEYS = st.lists(st.sampled_from(["a", "b", "c.d", ".", "..", "[0]", "[1]", "[", "]", "é", " "]), max_size=6)
FLAT = st.dictionaries(KEYS.map("".join), st.integers() | st.text(max_size=5) | st.booleans(), max_size=12)
SECRET = Reference("kv", "a/b", "c", None, "${vault:kv/a/b#c}")


@unhurried
@given(FLAT)
def test_any_flat_keys_make_a_tree_that_holds_every_value(flat: dict[str, Json]) -> None:
    tree = nested(dict(sorted(flat.items())))
    found = [json.dumps(value) for key, child in tree.items() for _, value, _ in spring_leaves(child, key)]
    for value in flat.values():
        assert json.dumps(value) in found
    for write in SPRING_FORMATS.values():
        write(dict(sorted(flat.items()))).encode()


@unhurried
@given(st.dictionaries(st.sampled_from(["a", "b", "c-d"]), st.integers() | st.booleans(), min_size=1))
def test_a_tree_that_is_flattened_comes_back(values: dict[str, int]) -> None:
    document = {"x": values, "y": [values, [values]]}
    (source,) = parse("a.yml", json.dumps(document).encode())
    assert nested({key: value for key, value, _ in flattened(source)}) == document


def test_holes_of_lists_are_bounded() -> None:
    assert nested({"a[3]": 1}) == {"a": [None, None, None, 1]}
    assert nested({"a[10001]": 1}) == {"a[10001]": 1}
    with pytest.raises(Malformed):
        nested({f"a{number}[10000]": 1 for number in range(10)})


def test_what_meets_a_value_keeps_it() -> None:
    assert nested({"a": 1, "a.b": 2, "a.b.c": 3}) == {"a": 1, "a.b": 2, "a.b.c": 3}
    assert nested({"a[0]": 1, "a[0][0]": 2, "a[0].b": 3}) == {"a": [1], "a[0][0]": 2, "a[0].b": 3}
    assert nested({"a.b": 1, "a[0]": 2}) == {"a": {"b": 1}, "a[0]": 2}
    assert nested({"a[x.y]": 1, "[0]": 2, "a.[z]": 3}) == {"a": {"x.y": 1}, "[0]": 2, "a.[z]": 3}


def test_keys_without_end_are_one_key() -> None:
    key = "a." * 5000 + "a"
    assert nested({key: 1}) == {key: 1}


def test_of_a_list_the_strongest_source_gives_all_items() -> None:
    strong: dict[str, Node] = {"a[0]": 1, "b": 2}
    weak: dict[str, Node] = {"a[0]": 8, "a[1]": 9, "a.c": 3}
    assert merged([strong, weak]) == {"a.c": 3, "a[0]": 1, "b": 2}


def _filled(leaves: dict[str, Node], key: str, secret: Json = "s", *, masked: bool = False) -> Json:
    return SpringPlaceholders(leaves, lambda _: secret, masked=masked).filled(key)


@pytest.mark.parametrize("secret", ["${b}", "${vault:kv/x#y}", "\\${b}", "{", "a:${b:c}}"])
def test_a_secret_is_never_looked_at_again(secret: str) -> None:
    leaves: dict[str, Node] = {
        "a": "x${c}",
        "b": "no",
        "c": Template((SECRET,)),
        "d": Template(("u:", SECRET, "@${b}")),
    }
    assert _filled(leaves, "a", secret) == f"x{secret}"
    assert _filled(leaves, "d", secret) == f"u:{secret}@no"
    assert _filled(leaves, "c", secret) == secret


def test_whatever_a_secret_has_gone_into_is_masked_whole() -> None:
    leaves: dict[str, Node] = {"a": "x${c}y", "b": "${a}", "c": Template((SECRET,)), "d": "plain", "e": "${${c}:x}"}
    assert [_filled(leaves, key, masked=True) for key in "abcd"] == ["******", "******", "******", "plain"]
    assert "s" not in str(_filled(leaves, "e", "s", masked=True))


def test_a_secret_is_no_key() -> None:
    leaves: dict[str, Node] = {"a": "${${c}}", "c": Template((SECRET,)), "d": "found"}
    assert _filled(leaves, "a", "d") == "${${c}}"


def test_expansion_is_bounded() -> None:
    bomb: dict[str, Node] = {"k0": "x" * 1000}
    for number in range(1, 30):
        bomb[f"k{number}"] = f"${{k{number - 1}}}" * 10
    with pytest.raises(BadPlaceholder):
        _filled(bomb, "k29")
    chain: dict[str, Node] = {f"k{number}": f"${{k{number + 1}}}" for number in range(200)}
    with pytest.raises(BadPlaceholder):
        _filled(chain, "k0")
    with pytest.raises(BadPlaceholder):
        _filled({"a": "${" * 100}, "a")
