"""Hostile files: each is refused, or read, in bounded time, and the refusal quotes no content."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from app.effective import fold, parse
from app.effective.limits import MAX_BYTES
from app.errors import BadConfiguration
from tests.costs import cost

#: How long one file may keep a worker, in seconds of CPU.
BOUND = 0.5


@pytest.fixture(autouse=True)
def _nothing_but_its_own_garbage() -> Iterator[None]:
    """What earlier tests have left in this process is no part of what a file costs to collect."""
    gc.freeze()
    yield
    gc.unfreeze()


def laughs() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 20)]
    return "\n".join(lines)


def merges() -> str:
    lines = ["a0: &a0 {" + ", ".join(f"k{i}: 1" for i in range(100)) + "}"]
    lines += [f"a{i}: &a{i}\n  <<: *a{i - 1}\n  z{i}: 1" for i in range(1, 2000)]
    return "\n".join(lines)


def deep_aliases() -> str:
    lines = ["a0: &a0 1"] + [f"a{i}: &a{i} {'[' * 20}*a{i - 1}{']' * 20}" for i in range(1, 100)]
    return "\n".join(lines)


def deep_merges() -> str:
    return "\n".join(["a0: &a0 {x: 1}"] + [f"a{i}: &a{i}\n  <<: {{y: *a{i - 1}}}" for i in range(1, 300)])


REFUSED = {
    "brackets.yml": "[" * 100_000,
    "braces.yml": "{" * 100_000,
    "dashes.yml": "- " * 300_000,
    "laughs.yml": laughs(),
    "merges.yml": merges(),
    "deep_aliases.yml": deep_aliases(),
    "deep_merges.yml": deep_merges(),
    "integer.yml": "a: " + "9" * 5000,
    "hexadecimal.yml": "a: 0x" + "f" * 500_000,
    "sexagesimal.yml": "a: 1" + ":59" * 200_000,
    "documents.yml": "---\na\n" * 170_000,
    "items.yml": "- 1\n" * 250_000,
    "flow.yml": "[" + "1," * 400_000 + "]",
    "tag.yml": "a: !!python/object/apply:os.system ['x']",
    "too_big.yml": "#" * (MAX_BYTES + 1),
    "brackets.json": "[" * 100_000,
    "objects.json": '{"a":' * 100_000,
    "integer.json": "[" + "9" * 5000 + "]",
    "items.json": "[" + "1," * 500_000 + "1]",
    "escapes.json": '"' + "\\n" * 500_000 + '"',
    "brackets.toml": "a = " + "[" * 100_000,
    "inline.toml": "a = " + "{a = " * 100_000,
    "twice.toml": "[{0}]\n[{0}]".format("k" * 100_000),
    "dotted.toml": "a." * 500_000 + "a = 1",
    "integer.toml": "a = " + "9" * 5000,
    "tables.toml": "[[a]]\n" * 170_000,
    "headers.toml": "[" + ".".join(["a"] * 60) + "]\n" * 8000,
    "escapes.toml": 'a = "' + "\\n" * 500_000 + '"',
    "lines.toml": "\n" * 1_000_000,
    "continued.properties": "a=\\\n" + "b\\\n" * 300_000,
    "escapes.properties": "a=" + "\\n" * 500_000,
    "backslashes.properties": "\\" * MAX_BYTES,
    "documents.properties": "#---\na=1\n" * 100_000,
    "expression.yml": "spring.config.activate.on-profile: '" + "(" * 200_000 + "'",
}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_file_is_refused_in_time(name: str) -> None:
    data = REFUSED[name].encode()

    def refused() -> None:
        with pytest.raises(BadConfiguration) as caught:
            parse(name, data)
        assert len(caught.value.reason) <= 300

    assert cost(refused, bound=BOUND) < BOUND


FOLDS = {
    "loop.yml": "a: ${b}\nb: ${c}\nc: ${a}",
    "self.yml": "a: ${a}",
    "long_loop.yml": "\n".join(f"{'k' * 500}{i}: ${{{'k' * 500}{(i + 1) % 60}}}" for i in range(60)),
    "laughs.yml": "a0: " + "x" * 1000 + "\n" + "\n".join(f"a{i}: {f'${{a{i - 1}}}' * 10}" for i in range(1, 60)),
    "open.yml": "a: '" + "${" * 300_000 + "'",
    "empty.yml": "a: '" + "${}" * 300_000 + "'",
    "total.yml": "r: " + "x" * 100_000 + "\n" + "\n".join(f"b{i}: '{'${r}' * 9}'" for i in range(2000)),
    "rising.yml": "a0: x\n" + "\n".join(f"a{i}: ${{a{i - 1}}}" for i in range(1, 100)),
    "falling.yml": "a0: x\n" + "\n".join(f"a{i}: ${{a{i - 1}}}" for i in range(100, 0, -1)),
    "index.properties": "a[0]=1\na[99999]=2",
    "deep.properties": ".".join(["a"] * 100_000) + "=1",
    "wide.properties": "\n".join(f"{'a.' * 60}k{i}=v" for i in range(8000)),
    "list_and_map.yml": "a[0]: 1\na.b: 2",
    "list_and_index.yml": "a: [1]\na[1]: 2",
    "list_and_scalar.yml": "a: 1\na[0]: 2",
    "long_key.yml": "? " + "'" + "k" * 100_000 + "[0]'\n: 1\n? '" + "k" * 100_000 + "[2]'\n: 2",
}


@pytest.mark.parametrize("name", FOLDS)
def test_hostile_expansion_is_refused_in_time(name: str) -> None:
    sources = parse(name, FOLDS[name].encode())

    def refused() -> None:
        with pytest.raises(BadConfiguration) as caught:
            fold(sources, ())
        assert len(caught.value.reason) < 1000

    assert cost(refused, bound=BOUND) < BOUND


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.yml", "password: [hunter2\n"),
        ("a.yml", "password: hunter2: x\n"),
        ("a.yml", "password: 'hunter2\n"),
        ("a.yml", "password: !hunter2 x\n"),
        ("a.yml", "password: *hunter2\n"),
        ("a.yml", "password: ${vault:hunter2}\n"),
        ("a.yml", "password: ${password}hunter2\n"),
        ("a.json", '{"password": hunter2}'),
        ("a.json", '{"password": "hunter2'),
        ("a.toml", 'password = "hunter2'),
        ("a.toml", "password = hunter2"),
        ("a.toml", 'password = "hunter2\\q"'),
        ("a.properties", "password=hunter2\\u12"),
    ],
)
def test_reason_quotes_no_value(name: str, data: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        fold(parse(name, data.encode()), ())
    assert "hunter2" not in str(caught.value)


def test_deepest_legal_file_is_read_and_folded() -> None:
    for name, text in (("a.yml", "[" * 64 + "]" * 64), ("a.json", "[" * 64 + "]" * 64)):
        with pytest.raises(BadConfiguration):
            fold(parse(name, f"[{text}]".encode()), ())
        assert parse(name, text.encode())
    assert fold(parse("a.yml", ("{a: " * 63 + "1" + "}" * 63).encode()), ()).origins


def test_ordinary_file_of_4_kb_loads_in_a_few_milliseconds() -> None:
    lines = [f"  key-{i}:\n    value: some text, number {i}, with ${{server.port}}\n" for i in range(60)]
    data = ("server: {port: 80}\ngroup:\n" + "".join(lines)).encode()
    assert cost(lambda: [fold(parse("a.yml", data), ()) for _ in range(5)], bound=0.05) < 0.05
