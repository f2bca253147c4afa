"""YAML: scalars as SnakeYAML reads them, positions, anchors, merge keys, and what is refused."""

from __future__ import annotations

import pytest

from app.effective import fold, parse
from app.errors import BadConfiguration
from app.model import Json
from tests.effective.folding import typed


def values_of(text: str) -> dict[str, Json]:
    (source,) = parse("a.yml", text.encode())
    return dict(source.values)


def reason_of(text: str | bytes, path: str = "a.yml") -> tuple[int | None, str]:
    with pytest.raises(BadConfiguration) as caught:
        parse(path, text if isinstance(text, bytes) else text.encode())
    assert caught.value.path == path
    return caught.value.line, caught.value.reason


SCALARS: list[tuple[str, Json]] = [
    *[(word, True) for word in ("yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON")],
    *[(word, False) for word in ("no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF")],
    *[(word, None) for word in ("", "~", "null", "Null", "NULL")],
    *[(word, word) for word in ("y", "n", "Y", "N", "yEs", "nULL", "tRUE", "=", "<<", "abc", "a b", "1 2")],
    ("0", 0),
    ("-0", 0),
    ("42", 42),
    ("+42", 42),
    ("-42", -42),
    ("1_000", 1000),
    ("0777", 511),
    ("-0777", -511),
    ("0_", 0),
    ("00", 0),
    ("08", "08"),
    ("0o17", "0o17"),
    ("0x1F", 31),
    ("0x_1f", 31),
    ("0b101", 5),
    ("0b", "0b"),
    ("1:30", 90),
    ("12:30:45", 45045),
    ("-1:30", -90),
    ("1:60", "1:60"),
    ("01:30", "01:30"),
    ("1:30.5", 90.5),
    ("-1:30.5", -90.5),
    ("1e3", 1000.0),
    ("1E+3", 1000.0),
    ("-1e-2", -0.01),
    ("1.", 1.0),
    ("1.5", 1.5),
    ("1_0.5", 10.5),
    (".5", 0.5),
    ("-.5", "-.5"),
    ("1.5e3", 1500.0),
    ("1.2.3", "1.2.3"),
    ("10.0.0.1", "10.0.0.1"),
    (".", "."),
    ("-", "-"),
    ("2024-01-31", "2024-01-31"),
    ("2024-13-45", "2024-13-45"),
    ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z"),
    ("123456789012345678901234567890", 123456789012345678901234567890),
    ("٣", "٣"),
    ("'1'", "1"),
    ('"yes"', "yes"),
]


@pytest.mark.parametrize(("text", "value"), [row for row in SCALARS if row[0] != "-"])
def test_scalar_reads_as_under_spring(text: str, value: Json) -> None:
    assert typed(values_of(f"key: {text}\n")) == typed({"key": value})


@pytest.mark.parametrize(
    ("text", "key"),
    [("404", "404"), ("0777", "511"), ("on", "true"), ("1.5", "1.5"), ("'on'", "on"), ("a.b", "a.b")],
)
def test_key_that_is_no_string_becomes_its_text(text: str, key: str) -> None:
    assert list(values_of(f"{text}: x")) == [key]


def test_number_as_key_is_one_segment_however_it_is_written() -> None:
    effective = fold(parse("a.yml", b"codes: {1.5: x, 404: y}"), ())
    assert effective.values == {"codes": {"1.5": "x", "404": "y"}}
    assert set(effective.origins) == {'codes["1.5"]', "codes.404"}


def test_every_leaf_has_its_line_and_column() -> None:
    text = "a: 1\nb:\n  - x\n  - {c: 'y', d: []}\n  - {}\ne: |\n  text\nf: &x\n  g: 1\nh: *x\n"
    (source,) = parse("a.yml", text.encode())
    assert dict(source.positions) == {
        ("a",): (1, 4),
        ("b", 0): (3, 5),
        ("b", 1, "c"): (4, 9),
        ("b", 1, "d"): (4, 17),
        ("b", 2): (5, 5),
        ("e",): (6, 4),
        ("f", "g"): (9, 6),
        ("h", "g"): (9, 6),
    }


def test_documents_come_in_order_and_empty_ones_do_not_count() -> None:
    sources = parse("a.yml", b"---\n---\na: 1\n---\n# nothing\n---\nb: 2\n...\n")
    assert [(source.document, dict(source.values)) for source in sources] == [(0, {"a": 1}), (1, {"b": 2})]


def test_anchors_end_with_their_document() -> None:
    assert reason_of("a: &x 1\n---\nb: *x\n") == (3, "an alias names no finished anchor")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: &a {x: 1}\nb: {<<: *a, y: 2}", {"x": 1, "y": 2}),
        ("a: &a {x: 1}\nb: {x: 3, <<: *a}", {"x": 3}),
        ("a: &a {x: 1}\nb: {<<: [*a, {x: 2, z: 2}]}", {"x": 1, "z": 2}),
        ("a: &a {x: 1}\nc: &c {<<: *a, y: 2}\nb: {<<: *c}", {"x": 1, "y": 2}),
        ("b: {'<<': 1}", {"<<": 1}),
        ("b: {<<: {}}", {}),
        ("b: {<<: []}", {}),
    ],
)
def test_merge_keys(text: str, value: Json) -> None:
    assert values_of(text)["b"] == value


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: 1\na: 2", 2, "duplicate key a"),
        ("1: a\n'1': b", 2, "duplicate key 1"),
        ("a: {<<: {}, <<: {}}", 1, "duplicate key <<"),
        ("a: {<<: 1}", 1, "<< takes a map or a list of maps"),
        ("a: {<<: [1]}", 1, "<< takes a map or a list of maps"),
        ("x: 1\na: !!python/object/apply:os.system [x]", 2, "tags are not allowed"),
        ("a: !!str 1", 1, "tags are not allowed"),
        ("a: ! x", 1, "tags are not allowed"),
        ("a: !!map {}", 1, "tags are not allowed"),
        ("? [a]\n: b", 1, "a key must be a scalar"),
        ("? {a: b}\n: b", 1, "a key must be a scalar"),
        ("a: &x b\n*x : c", 2, "an alias cannot be a key"),
        ("~: b", 1, "a key must not be empty"),
        ("a: &x [*x]", 1, "an alias names no finished anchor"),
        ("a: .inf", 1, "a: infinity and not-a-number are not allowed"),
        ("a: -.INF", 1, "a: infinity and not-a-number are not allowed"),
        ("a: .nan", 1, "a: infinity and not-a-number are not allowed"),
        ("a: 1e999", 1, "a: infinity and not-a-number are not allowed"),
        ("a: " + "9" * 5000, 1, "a: a number has too many digits"),
        ("a: " + "9" * 310, 1, "a: an integer is too large"),
        ("a: 1" + ":59" * 200, 1, "a: a number has too many digits"),
        ("a: 1" + ":59" * 120, 1, "a: an integer is too large" if 60**121 > 10**300 else ""),
    ],
)
def test_refusal_names_line_and_reason(text: str, line: int, reason: str) -> None:
    if reason:
        assert reason_of(text) == (line, reason)
    else:
        assert values_of(text)


def test_refusal_of_bad_syntax_has_its_line_and_no_content() -> None:
    line, reason = reason_of("a: 1\nb: [hunter2\nc: 3: 4\n")
    assert line in (2, 3)
    assert "hunter2" not in reason


def test_refusal_of_bad_bytes_has_its_line() -> None:
    assert reason_of(b"a: 1\nb: \xff\n") == (2, "not UTF-8")
    assert reason_of(b"a: 1\nb: \x00\n") == (2, "control characters are not allowed")
    assert reason_of(b'a: "\\ud800"')[0] == 1


def test_byte_order_mark_is_not_part_of_the_first_key() -> None:
    assert values_of("\ufeffa: 1") == {"a": 1}
