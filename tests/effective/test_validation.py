"""A configuration against its schemas: what is refused, where it stands, and what is not asked of a secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from app.effective import BrokenSchema, CompiledSchema, Violation, first_violation, read_schema
from app.effective.schema_file import MAX_SCHEMA_BYTES
from app.model import Effective
from tests.costs import cost
from tests.effective.folding import effective_of, effective_of_yaml
from tests.effective.strategies import unhurried

FOLDER = ".config-server/schemas"
SECRET = "${vault:kv/services/pay/prod/db#password}"


def _compiled(schema: Any, **others: Any) -> CompiledSchema:
    files = {
        f"{FOLDER}/{name}.json": read_schema(f"{FOLDER}/{name}.json", json.dumps(each).encode())
        for name, each in {"pay": schema, **others}.items()
    }
    return CompiledSchema(files[f"{FOLDER}/pay.json"], files)


def _wrong(schema: Any, text: str, **others: Any) -> list[Violation]:
    return _compiled(schema, **others).violations(effective_of_yaml(text))


def _effective(value: Any) -> Effective:
    return effective_of({"pay.json": json.dumps({"x": value}).encode()})


def test_a_violation_names_file_line_key_and_rule() -> None:
    schema = {"properties": {"db": {"$ref": "#/$defs/db"}}, "$defs": {"db": {"properties": {"pool": {"maximum": 9}}}}}
    files = {"pay.yml": b"a: 1\ndb:\n  pool: 5\n", "pay-prod.yml": b"\n\ndb: {pool: 11}\n"}

    (found,) = _compiled(schema).violations(effective_of(files))

    assert (found.path, found.line, found.key) == ("pay-prod.yml", 3, "db.pool")
    assert found.schema == f"{FOLDER}/pay.json#/$defs/db/properties/pool/maximum"
    assert found.reason == "must be at most 9"
    assert first_violation([found, found]) == f"db.pool: must be at most 9 ({found.schema}) (and 1 more)"


@pytest.mark.parametrize(
    ("schema", "text", "key", "line"),
    [
        ({"required": ["db"]}, "a: 1\n", "", None),
        ({"properties": {"db": {"required": ["pool"]}}}, "a: 1\ndb:\n  host: x\n", "db", 3),
        ({"properties": {"db": {"additionalProperties": False}}}, "db:\n  host: x\n", "db.host", 2),
        ({"properties": {"l": {"items": {"type": "string"}}}}, "l:\n- a\n- 1\n", "l[1]", 3),
        ({"properties": {"l": {"uniqueItems": True}}}, "a: 1\nl: [1, 1.0]\n", "l", 2),
        ({"properties": {"x.y": False}}, "a: 1\n'[x.y]': 2\n", '["x.y"]', 2),
        ({"properties": {"a": True}, "unevaluatedProperties": False}, "a: 1\nb: 2\n", "b", 2),
        ({"patternProperties": {"^b": {"type": "string"}}}, "a: 1\nb: 2\n", "b", 2),
        ({"allOf": [{"properties": {"a": True}}], "unevaluatedProperties": False}, "a: 1\nb: 2\n", "b", 2),
    ],
)
def test_what_is_wrong_is_found_where_it_stands(schema: Any, text: str, key: str, line: int | None) -> None:
    (found,) = _wrong(schema, text)
    assert (found.path, found.key, found.line) == ("pay.yml", key, line)


def test_no_value_is_told() -> None:
    schema = {
        "properties": {"a": {"maxLength": 3}, "b": {"pattern": "^x"}, "c": {"type": "integer"}, "d": {"enum": [1]}}
    }
    found = _wrong(schema, "a: hunter2\nb: hunter2\nc: hunter2\nd: hunter2\n")
    assert len(found) == 4
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    "rule",
    [
        {"type": "string", "minLength": 900, "pattern": "^never$"},
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "boolean"},
        {"type": ["object", "null"]},
        {"enum": ["a", "b"]},
        {"const": 7},
        {"not": {"const": "changeme"}},
        {"not": {"type": "string"}},
        {"oneOf": [{"type": "integer"}, {"type": "string"}]},
        {"if": {"type": "string"}, "then": False, "else": True},
        {"if": {"type": "string"}, "then": True, "else": False},
        {"anyOf": [{"type": "object"}, {"minimum": 3}]},
    ],
)
def test_a_whole_value_reference_satisfies_what_some_scalar_would(rule: Any) -> None:
    assert _wrong({"properties": {"a": rule}}, f"a: {SECRET}\n") == []


@pytest.mark.parametrize(
    "rule",
    [
        {"type": "object"},
        {"type": ["array", "object"]},
        {"enum": [[], {}]},
        {"not": {"type": ["string", "number", "boolean", "null"]}},
        {"if": {"type": "string"}, "then": False, "else": False},
        False,
    ],
)
def test_a_whole_value_reference_is_refused_where_no_scalar_may_stand(rule: Any) -> None:
    assert len(_wrong({"properties": {"a": rule}}, f"a: {SECRET}\n")) == 1


def test_a_text_with_a_reference_in_it_is_a_text_of_which_nothing_more_is_known() -> None:
    text = f"a: postgres://app:{SECRET}@db\n"
    assert _wrong({"properties": {"a": {"type": "string", "pattern": "^mysql", "maxLength": 2}}}, text) == []
    assert _wrong({"properties": {"a": {"type": "integer"}}}, text)[0].reason == "must be of type integer"


def test_secrets_in_lists_and_maps_decide_nothing() -> None:
    schema = {
        "properties": {
            "u": {"uniqueItems": True},
            "c": {"contains": {"const": "x"}, "maxContains": 1},
            "m": {"not": {"properties": {"p": {"const": "changeme"}}, "required": ["p"]}},
            "e": {"const": {"p": "x", "n": 1}},
        }
    }
    secret = f"'{SECRET}'"
    secrets = f"u: [{secret}, {secret}]\nc: [x, {secret}]\nm: {{p: {secret}}}\ne: {{p: {secret}, n: 1}}\n"
    assert _wrong(schema, secrets) == []
    assert {each.key for each in _wrong(schema, "u: [1, 1]\nc: [x, x]\nm: {p: changeme}\ne: {p: x, n: 2}\n")} == {
        "u", "c", "m", "e",
    }  # fmt: skip


def test_schemas_of_one_folder_may_refer_to_each_other() -> None:
    common = {"$id": "https://example.org/common.json", "$defs": {"port": {"type": "integer", "maximum": 65535}}}
    pay = {"$id": "https://example.org/pay.json", "properties": {"port": {"$ref": "common.json#/$defs/port"}}}

    (found,) = _wrong(pay, "port: 70000\n", common=common)

    assert found.schema == f"{FOLDER}/common.json#/$defs/port/maximum"


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"$ref": "https://example.org/x.json"}, "nothing elsewhere"),
        ({"$ref": "//example.org/x.json"}, "nothing elsewhere"),
        ({"$ref": "file:///etc/passwd"}, "nothing elsewhere"),
        ({"$ref": "../application.json"}, "nothing elsewhere"),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "nothing elsewhere"),
        ({"properties": {"a": {"$id": "https://example.org/", "$ref": "x.json"}}}, "nothing elsewhere"),
        ({"$dynamicRef": "https://example.org/x.json"}, "nothing elsewhere"),
        ({"$ref": "#/$defs/gone"}, "leads to no schema"),
        ({"$ref": "gone.json"}, "leads to no schema"),
        ({"$ref": "#/const", "const": {"type": "string"}}, "leads to no schema"),
        ({"type": "text"}, "2020-12"),
        ({"required": "a"}, "2020-12"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "2020-12"),
        ({"properties": {"a": {"$schema": "http://json-schema.org/draft-04/schema#"}}}, "at the root only"),
        ({"pattern": "(?=a)"}, "looks ahead"),
        ({"patternProperties": {"(a)\\1": True}}, "looks ahead"),
        ({"pattern": "((a{1000}){1000}){1000}"}, "too large"),
        ({"pattern": r"\pL{1000}"}, "too large"),
        ({"x": ["y" * MAX_SCHEMA_BYTES]}, "larger than"),
        ({"properties": {str(number): {} for number in range(3000)}}, "more than"),
        ([1], "object"),
    ],
)
def test_a_schema_that_cannot_be_applied_is_refused_by_name(schema: Any, reason: str) -> None:
    with pytest.raises(BrokenSchema, match=reason) as caught:
        _compiled(schema)
    assert caught.value.path == f"{FOLDER}/pay.json"


def test_a_broken_schema_is_told_with_its_line() -> None:
    for text, line in (('{\n "type": "text"\n}', 2), ('{\n "a": 1,\n "a": 2\n}', 3), ("{\n", 2)):
        with pytest.raises(BrokenSchema) as caught:
            read_schema(f"{FOLDER}/pay.json", text.encode())
        assert caught.value.line == line, text


def test_a_pattern_costs_linear_time() -> None:
    schema = _compiled({"properties": {"a": {"pattern": "^(a+)+$"}}, "patternProperties": {"^(b+)+$": False}})
    hostile = effective_of_yaml(f"a: {'a' * 5000}!\n{'b' * 900}!: 1\n")
    found: list[str] = []
    assert cost(lambda: found.extend(each.key for each in schema.violations(hostile)), bound=1) < 1
    assert set(found) == {"a"}


def _doubling() -> Any:
    steps = {f"d{number}": {"allOf": [{"$ref": f"#/$defs/d{number + 1}"}] * 2} for number in range(40)}
    return {"$ref": "#/$defs/d0", "$defs": {**steps, "d40": True}}


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"anyOf": [{"$ref": "#"}]}, _doubling()])
def test_a_schema_without_an_end_is_given_up(schema: Any) -> None:
    with pytest.raises(BrokenSchema, match=r"end|too long"):
        _compiled(schema).violations(effective_of_yaml("a: 1\n"))


_SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, "", "a", "ab", "abc"])
_VALUES = st.recursive(
    _SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abc"), below, max_size=3)
)
_TYPES = st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"])
_PATTERNS = st.sampled_from(["^a", "b", "c$"])


def _rules(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some, named = st.lists(below, min_size=1, max_size=3), st.dictionaries(st.sampled_from("abc"), below, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": _TYPES | st.lists(_TYPES, min_size=1, max_size=3, unique=True),
            "enum": st.lists(_VALUES, min_size=1, max_size=3),
            "const": _VALUES,
            "minimum": st.integers(-2, 2),
            "exclusiveMaximum": st.integers(-2, 2),
            "multipleOf": st.sampled_from([1, 2, 0.5]),
            "minLength": st.integers(0, 2),
            "pattern": _PATTERNS,
            "items": below,
            "prefixItems": some,
            "maxItems": st.integers(0, 2),
            "uniqueItems": st.booleans(),
            "contains": below,
            "minContains": st.integers(0, 2),
            "maxContains": st.integers(0, 2),
            "properties": named,
            "patternProperties": st.dictionaries(_PATTERNS, below, max_size=2),
            "additionalProperties": below,
            "propertyNames": below,
            "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
            "dependentRequired": st.dictionaries(st.sampled_from("abc"), st.just(["a"]), max_size=1),
            "dependentSchemas": named,
            "maxProperties": st.integers(0, 2),
            "allOf": some,
            "anyOf": some,
            "oneOf": some,
            "not": below,
            "if": below,
            "then": below,
            "else": below,
            "unevaluatedItems": below,
            "unevaluatedProperties": below,
        },
    )


_SCHEMAS: st.SearchStrategy[Any] = st.recursive(st.booleans() | st.just({}), _rules, max_leaves=8)


@pytest.mark.slow
@settings(unhurried, max_examples=300)
@given(schema=_SCHEMAS, value=_VALUES)
def test_without_secrets_the_verdict_is_the_librarys(schema: Any, value: Any) -> None:
    expected = Draft202012Validator(schema).is_valid(value)
    assert (_compiled({"properties": {"x": schema}}).violations(_effective(value)) == []) == expected


@pytest.mark.slow
@settings(unhurried, max_examples=300)
@given(schema=_SCHEMAS, value=_SCALARS)
def test_what_some_secret_would_satisfy_is_never_refused(schema: Any, value: Any) -> None:
    compiled = _compiled({"properties": {"x": {"properties": {"s": schema}}}})
    if compiled.violations(_effective({"s": value})) == []:
        assert compiled.violations(_effective({"s": SECRET})) == []
