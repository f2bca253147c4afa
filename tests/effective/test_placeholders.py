"""Placeholders: substitution, defaults, escapes, loops, and the border to secret references."""

from __future__ import annotations

import pytest

from app.effective import as_written, fill
from app.errors import BadConfiguration
from app.model import Reference, Template
from tests.effective.folding import effective_of_yaml

BASE = """
host: db
port: 5432
on: {flag: true}
ratio: 1.50
nothing: ~
list: [x, y]
map: {k: v}
empty: ''
name: host
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${host}", "db"),
        ("${port}", "5432"),
        ("${true.flag}", "true"),
        ("${ratio}", "1.5"),
        ("${nothing}", ""),
        ("${empty}", ""),
        ("${list[1]}", "y"),
        ("${map.k}", "v"),
        ("${map}", "${map}"),
        ("${list}", "${list}"),
        ("${unknown}", "${unknown}"),
        ("${unknown:}", ""),
        ("${unknown:a:b}", "a:b"),
        ("${unknown:${host}}", "db"),
        ("${unknown:${other:${port}}}", "5432"),
        ("${unknown:${other}}", "${other}"),
        ('${unknown:{"a": {"b": 1}}}', '{"a": {"b": 1}}'),
        ("${host:other}", "db"),
        ("${${name}}", "db"),
        ("${no${name}}", "${no${name}}"),
        ("a${host}b${port}c", "adbb5432c"),
        ("${", "${"),
        ("${host", "${host"),
        ("${a:${host}", "${a:db"),
        ("${}", "${}"),
        ("}{:", "}{:"),
        ("$host", "$host"),
        ("$${host}", "${host}"),
        ("$$${host}", "$${host}"),
        ("${unknown:$${x}}", "${x}"),
        ("$${vault:kv/a#b}", "${vault:kv/a#b}"),
        ("\\${host}", "\\db"),
    ],
)
def test_placeholder(text: str, value: str) -> None:
    effective = effective_of_yaml(BASE + f"it: '{text}'\n")
    assert effective.values["it"] == value


def test_substituted_text_is_not_scanned_again() -> None:
    effective = effective_of_yaml("a: $$\nb: '{host}'\nhost: x\nc: ${a}${b}\nd: $${host}\ne: ${d}\n")
    assert effective.values["c"] == "$${host}"
    assert effective.values["e"] == "${host}"


@pytest.mark.parametrize(
    "parts",
    [
        ("a: '$'\nb: '{vault:kv/services/other/x#k}'", "${a}${b}"),
        ("a: '$${vault:kv/services/other/x#k}'", "${a}"),
        ("a: '$${vault:'\nb: 'kv/services/other/x#k}'", "${a}${b}"),
    ],
)
def test_substitution_never_makes_a_reference(parts: tuple[str, str]) -> None:
    effective = effective_of_yaml(f"{parts[0]}\nc: '{parts[1]}'\n")
    assert effective.values["c"] == "${vault:kv/services/other/x#k}"
    assert not effective.references


def test_references_travel_along() -> None:
    effective = effective_of_yaml("pw: ${vault:kv/a#k}\nwhole: ${pw}\nurl: x://${pw}@y\nown: ${no:${vault:kv/b#k}}!\n")
    pw = Reference("kv", "a", "k", None, "${vault:kv/a#k}")
    other = Reference("kv", "b", "k", None, "${vault:kv/b#k}")
    assert effective.values["whole"] == Template((pw,))
    assert effective.values["url"] == Template(("x://", pw, "@y"))
    assert effective.values["own"] == Template((other, "!"))
    assert effective.references == {pw: ("pw", "whole", "url"), other: ("own",)}


def test_only_a_reference_alone_is_a_whole_value() -> None:
    text = "pw: ${vault:kv/a#k}\nempty: ''\nwhole: ${pw}\nagain: ${no:${whole}}\ntext: ${empty}${pw}\nmore: ${text}\n"
    filled = fill(effective_of_yaml(text).values, lambda _: 5)
    assert filled == {"pw": 5, "empty": "", "whole": 5, "again": 5, "text": "5", "more": "5"}


def test_reference_inside_a_key_resolves_nothing() -> None:
    effective = effective_of_yaml("a: '${b${vault:kv/a#k}}'\nbx: 1\n")
    assert as_written(effective.values)["a"] == "${b${vault:kv/a#k}}"
    assert fill(effective.values, lambda _: "x")["a"] == "${bx}"


def test_bracketed_keys_are_reachable() -> None:
    assert effective_of_yaml("'[\"x.y\"]': 1\na: '${[\"x.y\"]}'\n").values["a"] == "1"


@pytest.mark.parametrize(
    ("text", "line", "loop"),
    [
        ("a: ${a}", 1, "a -> a"),
        ("x: 1\na: ${b}\nb: ${c:1}\nc: '${${a}}'", 2, "a -> b -> c -> a"),
        ("a: ${x:${a}}", 1, "a -> a"),
    ],
)
def test_loop_is_refused_with_its_keys(text: str, line: int, loop: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        effective_of_yaml(text)
    assert caught.value.line == line
    assert caught.value.reason == f"a: placeholder loop: {loop}"


def test_default_that_is_not_needed_makes_no_loop() -> None:
    assert effective_of_yaml("a: ${b:${a}}\nb: 1").values["a"] == "1"


@pytest.mark.parametrize("order", [1, -1])
def test_depth_of_a_chain_does_not_depend_on_the_order_of_keys(order: int) -> None:
    def chain(length: int) -> str:
        lines = ["a0: x"] + [f"a{i}: ${{a{i - 1}}}" for i in range(1, length + 1)]
        return "\n".join(lines[::order])

    assert effective_of_yaml(chain(64)).values["a64"] == "x"
    with pytest.raises(BadConfiguration, match="more than 64 deep"):
        effective_of_yaml(chain(65))
