"""Any bytes at all are read or refused, never anything else; whatever is read has its positions."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.effective import FORMATS, as_written, decode, encode, fingerprint, fold, key_text, ordered, parse
from app.effective.properties_format import leaves
from app.errors import BadConfiguration
from app.model import Effective, Json, KeyPath
from tests.effective.strategies import documents, relaxed

SAMPLES = {
    "yml": "a: &x {b: [1, 'y', ~]}\nc:\n  <<: *x\n  d.e[0]: ${a.b[0]:z}\n---\n? k\n: |\n  t\n",
    "json": '{"a": [1, -2.5e3, true, null, "\\u00e9"], "b.c[0]": {"d": {}}}',
    "toml": 'a.b = 1\n[t."x.y"]\nd = [1, {e = 2024-01-01}]\n[[l]]\nm = """\nz"""\n[l.n]\no = \'x\'\n',
    "properties": "a.b=1\nc[0] : x\\\n  y\n#---\nd=\\u00e9 ${vault:kv/a#k}\n! e\n",
}


def tried(extension: str, data: bytes) -> Effective | None:
    path = f"pay.{extension}"
    try:
        sources = parse(path, data)
        for source in sources:
            check_positions(dict(source.values), set(source.positions))
        return fold(ordered([sources]), ("prod",))
    except BadConfiguration as exc:
        if exc.path != path:
            raise
        return None


def check_positions(values: dict[str, Json], positions: set[KeyPath]) -> None:
    assert set(raw_leaves(values, ())) == positions


def raw_leaves(value: Json, path: KeyPath) -> Iterator[KeyPath]:
    if isinstance(value, dict) and (value or not path):
        for key, child in value.items():
            yield from raw_leaves(child, (*path, key))
    elif isinstance(value, list) and value:
        for index, child in enumerate(value):
            yield from raw_leaves(child, (*path, index))
    else:
        yield path


def check_outcome(effective: Effective) -> None:
    assert decode(encode(effective)) == effective
    written = as_written(effective.values)
    assert set(raw_leaves_text(written)) == set(effective.origins)
    assert fingerprint(effective)
    assert json.loads(FORMATS["json"].render(written)) == written
    assert list(leaves(written)) or not effective.origins or "{}" in str(written)


def raw_leaves_text(written: dict[str, Json]) -> Iterator[str]:
    return (key_text(path) for path in raw_leaves(written, ()))


@pytest.mark.parametrize("extension", SAMPLES)
def test_samples_are_read(extension: str) -> None:
    effective = tried(extension, SAMPLES[extension].encode())
    assert effective is not None
    check_outcome(effective)


edits = st.lists(
    st.tuples(
        st.integers(0, 200), st.integers(0, 4), st.text(alphabet="ab01.[]{}:=,#&*<>|-!'\"\\\n\t $~é\x00", max_size=4)
    ),
    max_size=4,
)


@pytest.mark.parametrize("extension", SAMPLES)
@relaxed
@given(edits=edits)
def test_edited_sample_is_read_or_refused(extension: str, edits: list[tuple[int, int, str]]) -> None:
    text = SAMPLES[extension]
    for start, length, insert in edits:
        text = text[:start] + insert + text[start + length :]
    effective = tried(extension, text.encode())
    if effective is not None:
        check_outcome(effective)


@pytest.mark.parametrize("extension", ["yml", "json", "toml", "properties"])
@relaxed
@given(data=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(extension: str, data: bytes) -> None:
    effective = tried(extension, data)
    if effective is not None:
        check_outcome(effective)


@pytest.mark.parametrize(("name", "extension"), [("yaml", "yml"), ("json", "json"), ("toml", "toml")])
@relaxed
@given(document=documents)
def test_whatever_we_write_we_read_with_positions(name: str, extension: str, document: dict[str, Json]) -> None:
    (*_, source) = parse(f"a.{extension}", FORMATS[name].render({"k": 1, **document}))
    check_positions(dict(source.values), set(source.positions))
    assert all(line >= 1 and column >= 1 for line, column in source.positions.values())
