"""The stored form of an Effective is lossless, and refuses what it does not know."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from app.effective import LOADER_VERSION, as_written, decode, encode
from app.model import Effective, Json, Origin
from tests.effective.folding import effective_of, effective_of_yaml, nodes_of, typed
from tests.effective.strategies import documents, relaxed


def test_effective_survives() -> None:
    effective = effective_of(
        {
            "pay.yml": b"a: ${vault:kv/a#k}\nb: x${a}\nc: [1, 1.0, true, ~, {}]\nl: [[0], [1, [x]]]\n",
            "pay.toml": b"big = 1267650600228229401496703205377",
            "application.yml": b"a: 1\nc: [9]\n---\nspring.config.activate.on-profile: dev\na: 2\n",
            "application-prod.properties": b"z=caf\xc3\xa9",
        }
    )
    copy = decode(encode(effective))
    assert copy == effective
    assert list(copy.values) == list(effective.values)
    assert list(copy.references) == list(effective.references)
    assert b"vault" in encode(effective)


@given(documents)
@relaxed
def test_every_document_survives_with_its_types_and_order(document: dict[str, Json]) -> None:
    effective = Effective(nodes_of(document), {"k": Origin("other.yml", 1, 2, 3)}, {}, {}, ("a.yml", "b.yml"))
    copy = decode(encode(effective))
    assert typed(as_written(copy.values)) == typed(document)
    assert copy.paths == effective.paths
    assert copy.origins == effective.origins


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"v": 0}',
        b"\xff",
        json.dumps({"v": LOADER_VERSION, "values": {"a": [1, ["no"]]}, "files": []}).encode(),
        json.dumps({"v": LOADER_VERSION, "values": {"a": []}, "files": []}).encode(),
        json.dumps({"v": LOADER_VERSION, "values": {}, "files": [], "origins": {"a": [0, 0, 1, 1]}}).encode(),
        b"[" * 100_000,
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an Effective of loader version"):
        decode(data)


def test_another_loader_version_is_refused() -> None:
    document = json.loads(encode(effective_of_yaml("a: 1")))
    document["v"] = LOADER_VERSION + 1
    with pytest.raises(ValueError, match="loader version"):
        decode(json.dumps(document).encode())
