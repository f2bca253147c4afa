"""What a schema refuses is held back like a file that does not parse; a broken schema takes nothing away."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from tests.engine.vault_proxy import VaultProxy
from tests.serving import Serving
from tests.support import eventually

FOLDER = ".config-server/schemas"
POOL = {"properties": {"pool": {"type": "integer", "maximum": 9}}}


def _file(name: str, schema: Any) -> dict[str, str | bytes | None]:
    return {f"{FOLDER}/{name}.json": json.dumps(schema, indent=1)}


def test_a_value_that_the_schema_refuses_is_held_back_with_file_line_and_rule(bench: Serving) -> None:
    service = bench.new_service()
    good = bench.push({f"{service}.yml": "a: 1\npool: 5\n", **_file(service, POOL)})
    bad = bench.push({f"{service}.yml": "a: 1\npool: 50\n"})

    body = bench.body(f"{service}/prod")

    assert (body["version"], body["head"], body["config"]["pool"]) == (good, bad, 5)
    (stale,) = body["stale"]
    assert (stale["reason"], stale["commit"]) == ("invalid", bad)
    rule = f"{FOLDER}/{service}.json#/properties/pool/maximum"
    assert stale["detail"] == f"{service}.yml:2: pool: must be at most 9 ({rule})"
    bench.push({f"{service}.yml": "a: 1\npool: 6\n"})
    assert (bench.config(f"{service}/prod")["pool"], "stale" in bench.body(f"{service}/prod")) == (6, False)


def test_with_nothing_valid_it_is_422_naming_the_rule(bench: Serving) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": "pool: x\n", **_file(service, POOL)})

    answer = bench.get(f"{service}/prod")

    assert answer.status_code == 422
    problem = answer.json()
    assert problem["type"] == "urn:config-server:schema-violation"
    assert (problem["file"], problem["line"], problem["key"]) == (f"{service}.yml", 1, "pool")
    assert problem["schema"] == f"{FOLDER}/{service}.json#/properties/pool/type"


def test_a_schema_that_appears_or_goes_moves_its_targets_without_a_change_of_their_files(bench: Serving) -> None:
    service, other = bench.new_service(), bench.new_service()
    good = bench.push({f"{service}.yml": "pool: 50\n", f"{other}.yml": "pool: 50\n"})
    assert bench.body(f"{service}/prod")["version"] == good

    head = bench.push(_file(service, POOL))

    held = bench.body(f"{service}/prod")
    assert (held["version"], held["stale"][0]["commit"]) == (good, head)
    assert bench.body(f"{other}/prod")["version"] == head
    bench.push({f"{FOLDER}/{service}.json": None})
    assert "stale" not in bench.body(f"{service}/prod")


def test_a_reference_satisfies_any_scalar_and_vault_is_not_asked_for_it(
    bench: Serving, bao: Bao, vault: VaultProxy
) -> None:
    service = bench.new_service()
    bao.put(f"services/{service}/prod/db", {"password": "p"})
    schema = {"properties": {"password": {"type": "integer", "minimum": 1000}}, "required": ["password"]}
    bench.push(
        {f"{service}.yml": f"password: ${{vault:kv/services/{service}/prod/db#password}}\n", **_file(service, schema)}
    )
    assert bench.config(f"{service}/prod") == {"shared": 1, "password": "p"}

    refused = f"{service}-x"
    bench.push(
        {
            f"{refused}.yml": f"password: ${{vault:kv/services/{refused}/prod/db#password}}\n",
            **_file(refused, {"properties": {"password": {"type": "object"}}}),
        }
    )
    assert bench.get(f"{refused}/prod").status_code == 422
    assert vault.asked_for(refused) == 0


def test_a_broken_schema_takes_no_configuration_away(bench: Serving) -> None:
    service = bench.new_service()
    broken = ["{", {"type": "text"}, {"$ref": "https://example.org/x.json"}, {"pattern": "(?=x)"}, {"$ref": "#"}]
    bench.push({f"{service}.yml": "n: 0\n"})
    for number, schema in enumerate(broken, 1):
        text = schema if isinstance(schema, str) else json.dumps(schema)
        head = bench.push({f"{service}.yml": f"n: {number}\n", f"{FOLDER}/{service}.json": text})
        body = bench.body(f"{service}/prod")
        assert (body["version"], body["config"]["n"], "stale" in body) == (head, number, False)


def test_a_schema_sends_the_server_nowhere(bench: Serving) -> None:
    service = bench.new_service()
    with LocalIssuer() as stranger:
        for number, schema in enumerate(({"$ref": stranger.jwks_url}, {"$dynamicRef": stranger.jwks_url}), 1):
            bench.push({f"{service}.yml": f"n: {number}\n", **_file(service, schema)})
            assert bench.config(f"{service}/prod")["n"] == number
        assert sum(stranger.fetches.values()) == 0
    problems = bench.ask("/v1/admin/problems", token=bench.token("config:view")).json()["problems"]
    assert any("$ref" in each["detail"] for each in problems if each["kind"] == "schema")
    bench.push({f"{FOLDER}/{service}.json": None})


def test_a_pattern_that_would_take_for_ever_takes_no_time(bench: Serving) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": "n: 0\n", **_file(service, {"properties": {"n": {"pattern": "^(a+)+$"}}})})
    good = bench.body(f"{service}/prod")["version"]
    bench.push({f"{service}.yml": f"n: {'a' * 5000}!\n"})
    began = time.process_time()  # the server is in this process
    body = bench.body(f"{service}/prod")
    assert time.process_time() - began < 1
    assert (body["version"], body["stale"][0]["reason"]) == (good, "invalid")


def test_a_changed_neighbour_of_a_schema_moves_who_leans_on_it(bench: Serving) -> None:
    service = bench.new_service()
    common = f"common-{service}"
    leaning = {"properties": {"pool": {"$ref": f"{common}.json"}}}
    bench.push({f"{service}.yml": "pool: 5\n", **_file(service, leaning), **_file(common, {"maximum": 9})})
    good = bench.push({f"{service}.yml": "pool: 7\n"})
    assert bench.body(f"{service}/prod")["version"] == good

    bench.push(_file(common, {"maximum": 6}))
    assert bench.body(f"{service}/prod")["version"] == good
    head = bench.push(_file(common, {"maximum": 8}))
    assert bench.body(f"{service}/prod")["version"] == head


def test_a_stream_is_told_when_a_schema_holds_back_or_lets_go(bench: Serving) -> None:
    service = bench.new_service()
    common = f"common-{service}"
    leaning = {"properties": {"pool": {"$ref": f"{common}.json"}}}
    bench.push({f"{service}.yml": "pool: 5\n", **_file(service, leaning), **_file(common, {"maximum": 9})})
    url = f"{bench.server.url}/v1/events?topic={service}/prod"
    with httpx.stream("GET", url, headers={"Authorization": f"Bearer {bench.token()}"}, timeout=60) as answer:
        changes = (
            json.loads(line.removeprefix("data: "))
            for line in answer.iter_lines()
            if line.startswith("data: ") and '"change"' in line
        )
        assert next(changes)["doc"]["pool"] == 5
        good = bench.push({f"{service}.yml": "pool: 7\n"})
        assert next(changes)["doc"]["pool"] == 7

        bench.push(_file(common, {"maximum": 6}))
        held = next(changes)
        assert (held["op"], held["version"], held["stale"][0]["reason"]) == ("state", good, "invalid")

        bench.push(_file(common, {"maximum": 8}))
        free = next(changes)
        assert (free["op"], free["version"] != good, "stale" in free) == ("state", True, False)


def test_the_schema_for_all_holds_for_every_service(bench: Serving) -> None:
    service = bench.new_service()
    bench.push(
        {f"{service}.yml": "forbidden-key: 1\n", **_file("application", {"properties": {"forbidden-key": False}})}
    )
    try:
        assert bench.get(f"{service}/prod").status_code == 422
        assert eventually(lambda: bench.config(f"{bench.new_service()}/prod")) == {"shared": 1}
    finally:
        bench.push({f"{FOLDER}/application.json": None})
    assert bench.config(f"{service}/prod")["forbidden-key"] == 1


@pytest.mark.parametrize("path", [f"{FOLDER}/application.json", f"{FOLDER}/x.json"])
def test_schemas_are_no_plain_files(bench: Serving, path: str) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": "n: 1\n", path: "{}"})
    assert bench.get(f"{service}/prod/{path}").status_code == 404
