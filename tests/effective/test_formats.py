"""Output formats: each reads back, by our loader and by others' readers."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import javaproperties
import pytest
import yaml
from hypothesis import assume, given

from app.effective import FORMATS, flatten, parse, subtree
from app.effective.env_format import quoted, variable_name
from app.effective.properties_format import leaves, text_of
from app.errors import FormatCollision, UnknownKey, Unprocessable
from app.model import Json, KeyPath
from tests.effective.folding import typed
from tests.effective.strategies import documents, relaxed

DOCUMENT: dict[str, Json] = {
    "db": {"pool-size": 5, "url": "a b", "on": True, "off": None},
    "hosts": ["x", {"y": 1.5}],
    "none": [],
    "gone": {},
    "x.y": "é",
}


def rendered(name: str, document: Json) -> str:
    return FORMATS[name].render(document).decode()


def without_nulls(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: without_nulls(child) for key, child in value.items() if child is not None}
    if isinstance(value, list):
        return [without_nulls(child) for child in value if child is not None]
    return value


def test_flatten_writes_key_paths() -> None:
    assert flatten(DOCUMENT) == {
        "db.pool-size": 5,
        "db.url": "a b",
        "db.on": True,
        "db.off": None,
        "hosts[0]": "x",
        "hosts[1].y": 1.5,
        "none": "",
        '["x.y"]': "é",
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "json",
            '{"db":{"pool-size":5,"url":"a b","on":true,"off":null},"hosts":["x",{"y":1.5}],'
            '"none":[],"gone":{},"x.y":"é"}',
        ),
        (
            "yaml",
            "db:\n  pool-size: 5\n  url: a b\n  'on': true\n  'off': null\n"
            "hosts:\n- x\n- 'y': 1.5\nnone: []\ngone: {}\nx.y: é\n",
        ),
        (
            "properties",
            'db.pool-size=5\ndb.url=a b\ndb.on=true\ndb.off=\nhosts[0]=x\nhosts[1].y=1.5\nnone=\n["x.y"]=\\u00e9\n',
        ),
        (
            "env",
            "DB_POOL_SIZE=5\nDB_URL='a b'\nDB_ON=true\nDB_OFF=\nHOSTS_0=x\nHOSTS_1_Y=1.5\nNONE=\nX_Y='é'\n",
        ),
    ],
)
def test_document_is_written_as_documented(name: str, text: str) -> None:
    assert rendered(name, DOCUMENT) == text


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("part", [5, "x", None, [1, "a"], [], {}])
def test_part_that_is_no_map_can_be_written(name: str, part: Json) -> None:
    text = rendered(name, part)
    if name == "json":
        assert typed(json.loads(text)) == typed(part)
    elif name == "yaml":
        assert typed(yaml.safe_load(text)) == typed(part)
    elif part not in (None, {}):
        assert "document" in text.lower()


@given(documents)
@relaxed
def test_json_reads_back(document: dict[str, Json]) -> None:
    assert typed(json.loads(rendered("json", document))) == typed(document)


@given(documents)
@relaxed
def test_yaml_reads_back_by_our_loader_and_by_pyyaml(document: dict[str, Json]) -> None:
    assume(document)
    text = rendered("yaml", document)
    (source,) = parse("a.yml", text.encode())
    assert typed(dict(source.values)) == typed(document)
    assert typed(yaml.safe_load(text)) == typed(document)


#: YAML 1.2.2, section 10.3.2, core schema: what a plain scalar must not look like to stay a string.
CORE = re.compile(
    r"|null|Null|NULL|~|true|True|TRUE|false|False|FALSE|[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"
    r"|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN"
)


@given(documents)
@relaxed
def test_yaml_strings_are_strings_under_yaml_1_2_too(document: dict[str, Json]) -> None:
    for event in yaml.parse(rendered("yaml", document)):
        if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and isinstance(_value(event.value), str):
            assert not CORE.fullmatch(event.value)


def _value(text: str) -> Json:
    (source,) = parse("a.yml", f"k: {text}".encode())
    return source.values["k"]


@given(documents)
@relaxed
def test_properties_read_back_flat(document: dict[str, Json]) -> None:
    text = rendered("properties", document)
    expected = {key: text_of(value) for key, value in flatten(document).items()}
    assert javaproperties.loads(text) == expected
    sources = parse("a.properties", text.encode())
    assert (dict(sources[0].values) if sources else {}) == expected


@given(documents)
@relaxed
def test_toml_reads_back_without_nulls(document: dict[str, Json]) -> None:
    found = tomllib.loads(rendered("toml", document))
    assert unordered(found) == unordered(without_nulls(document))


def unordered(value: Json) -> object:
    if isinstance(value, dict):
        return {key: unordered(child) for key, child in value.items()}
    if isinstance(value, list):
        return [unordered(child) for child in value]
    return type(value).__name__, value


def test_env_lines_are_read_back_by_a_shell(tmp_path: Path) -> None:
    values = [
        "",
        "a",
        "a b",
        "it's",
        'say "hi"',
        "$HOME",
        "`id`",
        "$(id)",
        "a\\b",
        "'\"$`\\!",
        "a\nb",
        "'a\nb'",
        "#x",
        "é",
    ]
    values += ["~", "*", "a=b", "&", ";", "\\", "\\'", "!x'"]
    file = tmp_path / "env"
    file.write_text(rendered("env", dict(zip((f"k{i}" for i in range(len(values))), values, strict=True))))
    names = " ".join(f'"$K{i}"' for i in range(len(values)))
    out = subprocess.run(["sh", "-c", f". {file}; printf '%s\\0' {names}"], capture_output=True, check=True)
    assert out.stdout.decode().split("\0")[:-1] == values


@given(documents)
@relaxed
def test_env_has_a_line_for_each_leaf_or_says_why_not(document: dict[str, Json]) -> None:
    flat = list(leaves(document))
    try:
        text = rendered("env", document)
    except FormatCollision:
        assert len({variable_name(path) for path, _ in flat}) < len(flat)
        return
    except Unprocessable:
        assert any("\0" in text_of(value) for _, value in flat)
        return
    assert text == "".join(f"{variable_name(path)}={quoted(text_of(value))}\n" for path, value in flat)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("db", "pool-size"), "DB_POOL_SIZE"),
        (("hosts", 0, "name"), "HOSTS_0_NAME"),
        (("x.y",), "X_Y"),
        (("1st",), "_1ST"),
        (("größe",), "GR_SSE"),
        (("a b/c",), "A_B_C"),
        (("",), "_"),
    ],
)
def test_env_names(path: KeyPath, name: str) -> None:
    assert variable_name(path) == name
    assert re.fullmatch(r"[A-Z_][A-Z0-9_]*", name)


def test_env_collision_names_both_keys() -> None:
    with pytest.raises(FormatCollision, match=r"a-b and a\.b both become A_B"):
        rendered("env", {"a-b": 1, "a": {"b": 2}})


def test_toml_puts_scalars_before_tables() -> None:
    document: dict[str, Json] = {"t": {"a": 1}, "l": [{"m": {"n": 1}}], "s": 1, "z": None}
    assert tomllib.loads(rendered("toml", document)) == {"t": {"a": 1}, "l": [{"m": {"n": 1}}], "s": 1}


@pytest.mark.parametrize(
    ("key", "value"),
    [("db.url", "a b"), ("db", DOCUMENT["db"]), ("hosts[1].y", 1.5), ("hosts", DOCUMENT["hosts"]), ('["x.y"]', "é")],
)
def test_subtree(key: str, value: Json) -> None:
    assert subtree(DOCUMENT, key) == value


@pytest.mark.parametrize(
    "key", ["", "nope", "db.nope", "db[0]", "hosts.x", "hosts[2]", "db.url.x", "x.y", "a..b", "hosts[-1]"]
)
def test_subtree_of_an_unknown_key(key: str) -> None:
    with pytest.raises(UnknownKey):
        subtree(DOCUMENT, key)


def test_each_format_has_a_media_type_of_its_own() -> None:
    assert len({each.media_type for each in FORMATS.values()}) == len(FORMATS) == 5
    assert all(each.name == name for name, each in FORMATS.items())
