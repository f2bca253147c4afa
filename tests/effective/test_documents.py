"""JSON, TOML and .properties: values, positions, documents, activation, refusals."""

from __future__ import annotations

import pytest

from app.effective import parse
from app.errors import BadConfiguration
from app.model import Json, KeyPath
from tests.effective.folding import typed


@pytest.mark.parametrize(
    ("path", "text", "values"),
    [
        ("a.json", '{"a": 1, "b": 1.0, "c": true, "d": null, "e": "1", "f": [], "g": {}, "h": 1e3}', None),
        ("a.json", "[1]", {"document": [1]}),
        ("a.json", '"text"', {"document": "text"}),
        ("a.json", r'{"a\"b\\": "\u00e9\ud83d\ude00\n"}', {'a"b\\': "é😀\n"}),
        ("a.toml", "a = 1979-05-27T07:32:00Z\nb = 07:32:00\nc = 1979-05-27 07:32:00.5\nd = 1979-05-27", None),
        ("a.toml", "a = 0x1F\nb = 1_000\nc = 1e3\nd = '''x\n'y'''\n", {"a": 31, "b": 1000, "c": 1000.0, "d": "x\n'y"}),
        ("a.properties", "a = 1\nb: x\\\n   y\nc d\n! no\n# no\ne\\=f\\ g=h\\ti\n", None),
        ("a.properties", "a=\\u00e9\nb=\\ud83d\\ude00\nc=x  \n=v", {"a": "é", "b": "😀", "c": "x  ", "": "v"}),
        ("a.properties", "a=1\\\\\nb=2", {"a": "1\\", "b": "2"}),
        ("a.properties", "a=1\\\n#2\n", {"a": "1#2"}),
        ("a.properties", "a=1\r\nb=2\rc=3", {"a": "1", "b": "2", "c": "3"}),
    ],
)
def test_values_are_read_by_the_rules_of_the_format(path: str, text: str, values: dict[str, Json] | None) -> None:
    given: dict[str, dict[str, Json]] = {
        "a.json": {"a": 1, "b": 1.0, "c": True, "d": None, "e": "1", "f": [], "g": {}, "h": 1000.0},
        "a.toml": {"a": "1979-05-27T07:32:00Z", "b": "07:32:00", "c": "1979-05-27 07:32:00.5", "d": "1979-05-27"},
        "a.properties": {"a": "1", "b": "xy", "c": "d", "e=f g": "h\ti"},
    }
    (source,) = parse(path, text.encode())
    assert typed(dict(source.values)) == typed(values if values is not None else given[path])


POSITIONS: list[tuple[str, str, dict[KeyPath, tuple[int, int]]]] = [
    (
        "a.json",
        '{\n  "a": [1, {"b": "x"}],\n  "c": {}, "d": []\n}',
        {("a", 0): (2, 9), ("a", 1, "b"): (2, 18), ("c",): (3, 8), ("d",): (3, 17)},
    ),
    (
        "a.toml",
        '# x\na.b = 1\n[t]\n"x.y" = [1,\n  {z = 2}]\n[[l]]\nm = "" # c\n[[l]]\nn = {}\n[l.k]\no = """\nx"""\n[e]\n',
        {
            ("a", "b"): (2, 7),
            ("t", "x.y", 0): (4, 10),
            ("t", "x.y", 1, "z"): (5, 8),
            ("l", 0, "m"): (7, 5),
            ("l", 1, "n"): (9, 5),
            ("l", 1, "k", "o"): (11, 5),
            ("e",): (13, 2),
        },
    ),
    (
        "a.properties",
        "a=1\n\n  b : x\\\n  y\nc=\\\n   z\nd\n",
        {("a",): (1, 3), ("b",): (3, 7), ("c",): (6, 4), ("d",): (7, 2)},
    ),
]


@pytest.mark.parametrize(("path", "text", "positions"), POSITIONS)
def test_every_leaf_has_its_line_and_column(path: str, text: str, positions: dict[KeyPath, tuple[int, int]]) -> None:
    (source,) = parse(path, text.encode())
    assert dict(source.positions) == positions


@pytest.mark.parametrize(
    ("path", "text", "line", "reason"),
    [
        ("a.json", '{"a": 1,\n"a": 2}', 2, "duplicate key a"),
        ("a.json", '{"a":\n NaN}', 2, "infinity and not-a-number are not allowed"),
        ("a.json", '{"a": -Infinity}', 1, "infinity and not-a-number are not allowed"),
        ("a.json", '{"a":\n 1e999}', 2, "infinity and not-a-number are not allowed"),
        ("a.json", '{"a":\n ' + "9" * 5000 + "}", 2, "a number has too many digits"),
        ("a.json", '{"a":\n 1,}', 2, "Illegal trailing comma before end of object"),
        ("a.json", '{"a": "\\udc00"}', 1, "a string holds half of a surrogate pair"),
        ("a.toml", "a = 1\na = 2", 2, "duplicate key a"),
        ("a.toml", "a = 1\nb = nan", 2, "infinity and not-a-number are not allowed"),
        ("a.toml", "a = 1\nb = " + "9" * 5000, 2, "a number has too many digits"),
        ("a.toml", "a = 1\nb = " + "9" * 400, 2, "an integer is too large"),
        ("a.toml", "a = 1\nb 2", 2, "= is missing"),
        ("a.toml", "a = 1\nb = 2024-13-45", 2, None),
        ("a.properties", "a=1\na=2", 2, "duplicate key a"),
        ("a.properties", "a=1\nb=\\u12", 2, "\\u without four hexadecimal digits"),
        ("a.properties", "a=\\ud800", 1, "a string holds half of a surrogate pair"),
        ("a.ini", "a=1", None, "not a configuration file by its extension"),
    ],
)
def test_refusal_names_line_and_reason(path: str, text: str, line: int | None, reason: str | None) -> None:
    with pytest.raises(BadConfiguration) as caught:
        parse(path, text.encode())
    assert caught.value.line == line
    if reason is not None and "trailing" not in reason:  # its wording changes with Python's version
        assert caught.value.reason == reason


@pytest.mark.parametrize("name", ["a.json", "a.toml", "a.yml", "a.properties"])
@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_blank_file_has_no_documents(name: str, data: bytes) -> None:
    assert parse(name, data) == ()


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("a=1\n#---\nb=2\n", 2),
        ("a=1\n!---\nb=2\n", 2),
        ("a=1\n#--- \t\nb=2\n", 2),
        ("a=1\n#---x\nb=2\n", 1),
        ("a=1\n #---\nb=2\n", 1),
        ("a=1\n# note\n#---\nb=2\n", 1),
        ("a=1\n#---\n# note\nb=2\n", 1),
        ("a=1\n! note\n#---\nb=2\n", 2),
        ("#---\na=1\n#---\n\n#---\nb=2\n", 2),
    ],
)
def test_properties_split_as_spring_boot_splits_them(text: str, documents: int) -> None:
    assert len(parse("a.properties", text.encode())) == documents


@pytest.mark.parametrize(
    ("path", "text", "activation"),
    [
        ("a.yml", "spring.config.activate.on-profile: a & b", "a & b"),
        ("a.yml", "spring: {config: {activate: {on-profile: [a, '!b']}}}", "a,!b"),
        ("a.yml", "spring.config: {activate.on-profile: a}", "a"),
        ("a.yml", "spring.config.activate.on-profile[0]: a\nspring.config.activate.on-profile[1]: b", "a,b"),
        ("a.yml", "spring.config.activate.on-profile: ''", None),
        ("a.yml", "spring.config.activate.on-profile:", None),
        ("a.yml", "spring.config.import: x", None),
        ("a.yml", "spring: {profiles: {active: x}}", None),
        ("a.properties", "spring.config.activate.on-profile=a,b", "a,b"),
        ("a.json", '{"spring": {"config": {"activate": {"on-profile": "a"}}}}', "a"),
        ("a.toml", "[spring.config.activate]\non-profile = 'a'", "a"),
    ],
)
def test_activation_is_found_however_it_is_written(path: str, text: str, activation: str | None) -> None:
    (source,) = parse(path, text.encode())
    assert source.activation == activation
    assert source.values


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x: 1\nspring.profiles: dev", 2),
        ("spring: {profiles: [dev]}", 1),
        ("spring.profiles[0]: dev", 1),
        ("x: 1\nspring.config.activate.on-profile: a & | b", 2),
        ("spring.config.activate.on-profile: {a: b}", 1),
    ],
)
def test_legacy_profiles_and_bad_expressions_are_refused(text: str, line: int) -> None:
    with pytest.raises(BadConfiguration) as caught:
        parse("a.yml", text.encode())
    assert caught.value.line == line
