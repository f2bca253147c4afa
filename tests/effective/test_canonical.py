"""Canonical bytes: RFC 8785 for clients, exact ones for etags."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from app.effective import canonical, fingerprint
from app.model import Effective, Json, Node, Reference, Template
from tests.effective.folding import effective_of_yaml, nodes_of
from tests.effective.strategies import documents, relaxed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None, "é\n"]}, '{"a":[true,null,"é\\n"],"b":1}'),
        (1.0, "1"),
        (1e21, "1e+21"),
        (0.000001, "0.000001"),
        (1e-7, "1e-7"),
        (-0.0, "0"),
        (2**53 - 1, "9007199254740991"),
        (2**53, "9007199254740992"),
        (2**53 + 1, "9007199254740992"),
        (-(2**63), "-9223372036854776000"),
        (10**30, "1e+30"),
        (123456789012345678901, "123456789012345680000"),
        ({"\U0001f600": 1, "\ufb33": 2}, '{"\U0001f600":1,"\ufb33":2}'),
    ],
)
def test_canonical_form_is_that_of_javascript(value: Json, text: str) -> None:
    assert canonical(value).decode() == text


def effective_with(value: Node) -> Effective:
    return Effective({"a": value}, {}, {}, {}, ())


REFERENCE = Reference("kv", "a", "k", None, "${vault:kv/a#k}")
DIFFERENT: list[Node] = [
    1,
    1.0,
    True,
    "1",
    "true",
    None,
    "",
    [],
    {},
    [0],
    [1],
    [1, "x"],
    [0, 1],
    [[0]],
    {"0": 1},
    2**53,
    2**53 + 1,
    0.0,
    -1,
    "${vault:kv/a#k}",
    ["${vault:kv/a#k}"],
    [1, ["${vault:kv/a#k}"]],
    {"1": "${vault:kv/a#k}"},
    Template((REFERENCE,)),
    Template(("x", REFERENCE)),
    Template((REFERENCE, "x")),
    [Template((REFERENCE,))],
    "x${vault:kv/a#k}",
]


def test_fingerprints_differ_where_values_do() -> None:
    prints = [fingerprint(effective_with(value)) for value in DIFFERENT]
    assert len(set(prints)) == len(DIFFERENT)


def test_fingerprint_ignores_key_order_and_origins() -> None:
    one = effective_of_yaml("a: {x: 1, y: ['${vault:kv/a#k}']}\nb: 2")
    other = effective_of_yaml("# moved\nb: 2\na.y[0]: ${vault:kv/a#k}\na.x: 1")
    assert one.origins != other.origins
    assert fingerprint(one) == fingerprint(other)


@given(documents, documents)
@relaxed
def test_fingerprint_tells_documents_apart_exactly(one: dict[str, Json], other: dict[str, Json]) -> None:
    def text(document: dict[str, Json]) -> str:
        return json.dumps(document, sort_keys=True)

    prints = [fingerprint(Effective(nodes_of(each), {}, {}, {}, ())) for each in (one, other)]
    assert (prints[0] == prints[1]) == (text(one) == text(other))


@given(documents)
@relaxed
def test_canonical_form_reads_back_as_doubles(document: dict[str, Json]) -> None:
    def double(value: Json) -> object:
        if isinstance(value, dict):
            return {key: double(child) for key, child in value.items()}
        if isinstance(value, list):
            return [double(child) for child in value]
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

    assert double(json.loads(canonical(document))) == double(document)
