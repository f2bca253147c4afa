"""What becomes of references: filled, masked, as written, listed."""

from __future__ import annotations

import math

import pytest

from app.effective import as_written, fill, mask, references
from app.model import MASK, Json, Reference
from tests.effective.folding import effective_of_yaml, typed

EFFECTIVE = effective_of_yaml(
    "plain: {a: 1, b: [x]}\n"
    "whole: ${vault:kv/a#k}\n"
    "inline: x-${vault:kv/a#k}-${vault:kv/b#k@2}\n"
    "list: ['${vault:kv/a#k}']\n"
)


@pytest.mark.parametrize("value", ["text", 1, 1.5, True, None, [1, {"a": "b"}], {"a": [None]}])
def test_whole_value_keeps_the_type_of_the_secret(value: Json) -> None:
    filled = fill(effective_of_yaml("whole: ${vault:kv/a#k}").values, lambda _: value)
    assert typed(filled) == typed({"whole": value})


@pytest.mark.parametrize(("value", "text"), [("a", "a"), (1, "1"), (1.5, "1.5"), (True, "true"), (None, "null")])
def test_inline_scalar_is_written_as_json_writes_it(value: Json, text: str) -> None:
    filled = fill(EFFECTIVE.values, lambda _: value)
    assert filled["inline"] == f"x-{text}-{text}"
    assert filled["plain"] == {"a": 1, "b": ["x"]}


@pytest.mark.parametrize("value", [[1], {"a": "hunter2"}, []])
def test_map_or_list_inline_is_an_error_that_names_the_key_only(value: Json) -> None:
    with pytest.raises(ValueError, match=r"^inline: ") as caught:
        fill(EFFECTIVE.values, lambda _: value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", [math.inf, math.nan, 10**400, "\ud800", {"a": [math.inf]}, {"\udfff": 1}])
def test_secret_that_json_cannot_carry_is_an_error(value: Json) -> None:
    with pytest.raises(ValueError, match=r"^whole: "):
        fill(effective_of_yaml("whole: ${vault:kv/a#k}").values, lambda _: value)


def test_secret_nested_without_end_is_an_error() -> None:
    value: Json = []
    for _ in range(100):
        value = [value]
    with pytest.raises(ValueError, match="nested deeper"):
        fill(effective_of_yaml("whole: ${vault:kv/a#k}").values, lambda _: value)


def test_value_of_a_secret_is_never_scanned() -> None:
    hostile = "${vault:kv/services/other/x#k}${plain.a}$${x}"
    filled = fill(EFFECTIVE.values, lambda _: hostile)
    assert filled["whole"] == hostile
    assert filled["inline"] == f"x-{hostile}-{hostile}"


def test_filled_document_shares_nothing_with_the_secret() -> None:
    secret: dict[str, Json] = {"a": [1]}
    filled = fill(effective_of_yaml("whole: ${vault:kv/a#k}").values, lambda _: secret)
    assert filled["whole"] is not secret
    assert isinstance(secret["a"], list)
    secret["a"].append(2)
    assert filled == {"whole": {"a": [1]}}


def test_mask_hides_each_leaf_with_a_reference_whole() -> None:
    assert mask(EFFECTIVE.values) == {"plain": {"a": 1, "b": ["x"]}, "whole": MASK, "inline": MASK, "list": [MASK]}


def test_as_written_shows_references_as_text() -> None:
    written = as_written(EFFECTIVE.values)
    assert written["inline"] == "x-${vault:kv/a#k}-${vault:kv/b#k@2}"
    assert written["list"] == ["${vault:kv/a#k}"]


def test_references_are_listed_with_their_keys() -> None:
    a = Reference("kv", "a", "k", None, "${vault:kv/a#k}")
    b = Reference("kv", "b", "k", 2, "${vault:kv/b#k@2}")
    assert references(EFFECTIVE.values) == {a: ("whole", "inline", "list[0]"), b: ("inline",)}
    assert EFFECTIVE.references == references(EFFECTIVE.values)
