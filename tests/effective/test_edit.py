"""Editing a file by key: exactly what was asked for, and nothing else in the file moves."""

from __future__ import annotations

import difflib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.effective import EditRefused, KeyEdits, edit, expand, fold, parse, parse_key
from app.errors import BadConfiguration
from tests.effective.strategies import unhurried

YAML = """\
# who we are
db:
  pool: 5   # five is enough
  url: "postgres://x"

# between 1 and 9
limits: {low: 1, high: 9}
hosts:
- a
- b  # the second
items:
  - name: x
    n: 010
on: yes
a.b: on
text: |
  two
  lines

last: 'end'
"""


def edited(path: str, text: str | None, changes: dict[str, Any], *unset: str, document: int | None = None) -> str:
    keys = {parse_key(key): value for key, value in changes.items()}
    edits = KeyEdits(keys, tuple(map(parse_key, unset)), document)
    return edit(path, text.encode() if text is not None else None, edits).decode()


def differences(before: str, after: str) -> list[str]:
    """The lines that are gone (-) or new (+)."""
    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]


@pytest.mark.parametrize(
    ("changes", "unset", "moved"),
    [
        ({"db.pool": 7}, (), ["-   pool: 5   # five is enough", "+   pool: 7   # five is enough"]),
        ({"db.new": "on"}, (), ['+   new: "on"']),
        ({"db.new.deep": [1, {"x": None}]}, (), ["+   new:", "+     deep:", "+       - 1", "+       - {x: null}"]),
        ({"limits.mid": 5}, (), ["- limits: {low: 1, high: 9}", "+ limits: {low: 1, high: 9, mid: 5}"]),
        ({"hosts[2]": "c"}, (), ["+ - c"]),
        ({"hosts[1]": "1e3"}, (), ["- - b  # the second", '+ - "1e3"  # the second']),
        ({"items[0].n": 2.5}, (), ["-     n: 010", "+     n: 2.5"]),
        ({"items[0].new": True}, (), ["+     new: true"]),
        ({"a.c": None}, (), ["+ a.c: null"]),
        ({"text": "one"}, (), ["- text: |", "-   two", "-   lines", "+ text: one"]),
        ({"last": "multi\nline"}, (), ["- last: 'end'", '+ last: "multi\\nline"']),
        ({"db": {"only": 1}}, (), ["-   pool: 5   # five is enough", '-   url: "postgres://x"', "+   only: 1"]),
        ({'["x.y"]': 1}, (), ['+ "[\\"x.y\\"]": 1']),
        ({"true": 1}, (), ["- on: yes", "+ on: 1"]),
        ({}, ("db.url",), ['-   url: "postgres://x"']),
        ({}, ("db.url", "db.pool"), ["- db:", "-   pool: 5   # five is enough", '-   url: "postgres://x"']),
        ({}, ("hosts[0]",), ["- - a"]),
        ({}, ("items",), ["- items:", "-   - name: x", "-     n: 010"]),
        ({}, ("a",), ["- a.b: on"]),
        ({}, ("limits.low",), ["- limits: {low: 1, high: 9}", "+ limits: {high: 9}"]),
    ],
)
def test_only_the_lines_that_an_edit_of_yaml_concerns_are_touched(
    changes: dict[str, Any], unset: tuple[str, ...], moved: list[str]
) -> None:
    after = edited("x.yml", YAML, changes, *unset)
    assert sorted(differences(YAML, after)) == sorted(moved)
    assert "# between 1 and 9" in after


@pytest.mark.parametrize(
    ("path", "before", "changes", "unset", "after"),
    [
        ("x.yml", None, {"a.b": 1}, (), "a:\n  b: 1\n"),
        ("x.yml", "# only this\n", {"a": 1}, (), "# only this\na: 1\n"),
        ("x.yml", "a: 1\n", {}, ("a",), "{}\n"),
        ("x.yml", "a: 1\n", {"z": 1}, ("a",), "z: 1\n"),
        ("x.yml", "x:\ny: 1", {"x": 2, "z": 4}, (), "x: 2\ny: 1\nz: 4\n"),
        ("x.yml", "db.pool: 5\ndb.url: x\n", {"db": 2}, (), "db: 2\n"),
        ("x.yml", "db.pool: 5\ndb.url: x\n", {"db.n": 2}, (), "db.pool: 5\ndb.url: x\ndb.n: 2\n"),
        ("x.yml", "x: &a {p: 1}\ny: *a\n", {"y": 2}, (), "x: &a {p: 1}\ny: 2\n"),
        ("x.yml", "l: {\n  a: 1,  # one\n  b: 010, }\n", {"l.c": 5, "l.a": 2}, (),
         "l: {\n  a: 2,  # one\n  b: 010, c: 5, }\n"),
        ("x.yml", "l: [1, 'a',  # one\n  0x10]\n", {"l[0]": 5, "l[3]": {"x": 1}}, (),
         "l: [5, 'a',  # one\n  0x10, {x: 1}]\n"),
        ("x.yml", '{"a": 1, "b": [1_0,"x"]}\n', {"a": 7, "b[1]": "y"}, (), '{"a": 7, "b": [1_0,y]}\n'),
        ("x.yml", "l: {a: '1', b: 010, c: on}\n", {}, ("l.a", "l.c"), "l: {b: 010}\n"),
        ("x.yml", "l: {a: {b: {c: 1}}, d: 1_0}\n", {"l.e": 2}, ("l.a.b.c",), "l: {d: 1_0, e: 2}\n"),
        ("x.yml", "l: {a.x: 1, a: {y: 2}, d: '#'}\nm: [ ]\n", {"m[0]": 1}, ("l.a",), "l: {d: '#'}\nm: [1]\n"),
        ("x.yml", "ä: '😀' # 😀\nb: 1 # x\n", {"b": 2}, (), "ä: '😀' # 😀\nb: 2 # x\n"),
        ("x.yaml", "---\na: 1\n...\n", {"b": 2}, (), "---\na: 1\nb: 2\n...\n"),
        ("x.yml", "a: 1\r\nb:\r\n  c: 2\r\n", {"b.d": 3}, (), "a: 1\r\nb:\r\n  c: 2\r\n  d: 3\r\n"),
        ("x.yml", "\ufeffa: 1\n", {"a": 2}, (), "\ufeffa: 2\n"),
        ("x.json", None, {"a.b": 1}, (), '{\n  "a": {\n    "b": 1\n  }\n}\n'),
        ("x.json", '{\n\t"b": 1,\n\t"a.x": 2\n}', {"a.y": "ü"}, (), '{\n\t"b": 1,\n\t"a.x": 2,\n\t"a.y": "ü"\n}'),
        ("x.json", '{"b": 1, "a": {"x": 1}}\n', {"b": None}, ("a.x",), '{"b": null}\n'),
        ("x.toml", "# c\nx = 1 # one\n[db]\npool = 5\n", {"x": 2, "db.n": "v"}, (),
         '# c\nx = 2 # one\n[db]\npool = 5\nn = "v"\n'),
        ("x.toml", "# c\nx = 1\n[db] # d\npool = 5 # p\n", {}, ("x",), "# c\n[db] # d\npool = 5 # p\n"),
        ("x.toml", "[[items]]\nn = 1\n", {"items[0].n": "2026-01-01"}, (), '[[items]]\nn = "2026-01-01"\n'),
        ("x.properties", "# c\ndb.pool : 5\ndb.url=a\\\n  b\n! x\nz\n", {"db.url": " hä:", "db.n": 6, "z": True}, (),
         "# c\ndb.pool : 5\ndb.url=\\ hä\\:\n! x\nz=true\ndb.n=6\n"),
        ("x.properties", "# c\ndb.pool=5\ndb.url=a\n! x\n", {}, ("db",), "# c\n! x\n"),
        ("x.properties", "l[0]=1\nl[1]=2\nz=3\n", {"l": ["x"]}, (), "l[0]=x\nz=3\n"),
        ("x.properties", None, {"a": {"b": 1, "c": [True]}}, (), "a.b=1\na.c[0]=true\n"),
    ],
)  # fmt: skip
def test_file_is_then_written_so(
    path: str, before: str | None, changes: dict[str, Any], unset: tuple[str, ...], after: str
) -> None:
    assert edited(path, before, changes, *unset) == after


def test_document_is_chosen_by_its_number() -> None:
    text = "a: 1\n---\nb: 1\n# c\n"
    assert edited("x.yml", text, {"a": 2}, document=0) == "a: 2\n---\nb: 1\n# c\n"
    assert edited("x.yml", text, {"b": 2}, document=1) == "a: 1\n---\nb: 2\n# c\n"
    assert edited("x.properties", "a=1\n#---\nb=1\n", {"c": "2"}, document=0) == "a=1\nc=2\n#---\nb=1\n"


@pytest.mark.parametrize(
    ("path", "text", "changes", "unset", "why"),
    [
        ("x.yml", "a: 1\n---\nb: 1\n", {"a": 2}, (), "2 documents"),
        ("x.yml", "a: 1\n", {}, ("b",), "b is not in this file"),
        ("x.yml", "a: {x: 1}\n", {}, ("a.b",), "is not in this file"),
        ("x.yml", "a: 1\n", {"a.b": 2}, (), "single value"),
        ("x.yml", "a: [1]\n", {"a.b": 2}, (), "by index"),
        ("x.yml", "a:\n- 1\n", {"a[2]": 2}, (), "cannot be set in this list"),
        ("x.yml", "x: &a {p: 1}\ny: *a\n", {"x.p": 2}, (), "anchor"),
        ("x.yml", "x: &a\n  p: 1\ny: *a\n", {"x": 2}, (), "anchor"),
        ("x.yml", "x: &a\n  p: 1\ny: *a\n", {}, ("x",), "anchor"),
        ("x.yml", "a:\n  - x: 1\n    y: 2\n", {}, ("a[0].x",), "shares its line"),
        ("x.yml", "a: {\n  x: 1,  # one\n  y: 2\n}\n", {}, ("a.y",), "a comment"),
        ("x.yml", "a: {\n  # none\n}\n", {"a.x": 1}, (), "a comment"),
        ("x.yml", "a: 1\r\nb: 2\n", {"a": 2}, (), "line ends"),
        ("x.properties", "a=1\rb=2\r", {"a": "2"}, (), "line ends"),
        ("x.toml", "a = 1\r\nb = 2\n", {"a": 2}, (), "line ends"),
        ("x.yml", "- 1\n", {"document[0]": 2}, (), "not a map"),
        ("x.json", "[1]\n", {"document[0]": 2}, (), "not an object"),
        ("x.toml", "a = 1\n", {"b": None}, (), "no null"),
        ("x.properties", "a=1\n", {"b": None}, (), "no null"),
        ("x.properties", "a=1\n", {"a.b": "2"}, (), "single value"),
        ("x.xml", "<a/>", {"a": 1}, (), "only configuration files"),
        ("x.yml", "", {f"k{n}": 1 for n in range(101)}, (), "more than 100"),
    ],
)
def test_what_cannot_be_done_exactly_is_refused(
    path: str, text: str, changes: dict[str, Any], unset: tuple[str, ...], why: str
) -> None:
    with pytest.raises(EditRefused, match=why):
        edited(path, text, changes, *unset)


def test_file_that_does_not_parse_is_not_edited_by_key() -> None:
    with pytest.raises(BadConfiguration, match=r"x\.yml:2"):
        edited("x.yml", "a: [\n", {"b": 1})


_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12), st.sampled_from(["on", "010", "1e3", "~", "", " x", "a: b", "#", "1:30", "=", "2026-01-01"]),
)  # fmt: skip
_NAMES = st.sampled_from(["a", "b", "db", "pool", "x-y", "1", "on", "ä"])
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["x.yml", "x.json", "x.toml", "x.properties"])
@settings(unhurried, max_examples=40)
@given(
    first=st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=4),
    second=st.dictionaries(st.lists(_NAMES, min_size=1, max_size=3).map(".".join), _VALUES, max_size=3),
)
def test_whatever_is_set_is_there_or_refused(path: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    try:
        text = edited(path, None, first)
        after = edited(path, text, second)
    except EditRefused:
        return
    values = fold([*reversed(parse(path, after.encode()))], ()).values if "${" not in after else None
    if values is not None and path != "x.properties" and not any(_overlaps(a, b) for a in second for b in second):
        for key, value in second.items():
            node: Any = values
            for segment in key.split("."):
                node = node[segment]
            assert (node, type(node)) == (value, type(value))


def _overlaps(one: str, other: str) -> bool:
    return one != other and (f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}."))


@settings(unhurried, max_examples=40)
@given(_VALUES)
def test_any_value_can_be_set_in_yaml_and_json(value: Any) -> None:
    for path in ("x.yml", "x.json"):
        after = edited(path, '{"a": 1}\n' if path == "x.json" else "a: 1\nb:\n  c: 2\n", {"a": value})
        assert expand(parse(path, after.encode())[0]).entries.keys() >= {"a"}
