"""One content, many ways to it: every way tells the same."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from devstack.bao import Bao
from tests.serving import READ_ALL, VIEW_ALL, Serving


def _first_put(running: Serving, topic: str, token: str) -> dict[str, object]:
    """The first document that a stream tells of a topic."""

    def told(lines: Iterator[str]) -> Iterator[dict[str, object]]:
        for line in lines:
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))

    url = f"{running.server.url}/v1/events?topic={topic}"
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.stream("GET", url, headers=headers, trust_env=False, timeout=60) as answer:
        assert answer.status_code == 200, answer.read()
        return next(frame for frame in told(answer.iter_lines()) if frame["type"] == "change")


@pytest.mark.parametrize("scope", [READ_ALL, VIEW_ALL])
def test_a_stream_and_a_read_tell_the_same(bench: Serving, bao: Bao, scope: str) -> None:
    service = bench.new_service()
    bao.put(f"services/{service}/prod/db", {"password": "p"})
    bench.push({f"{service}.yml": f"a: x-${{vault:kv/services/{service}/prod/db#password}}\nn: [1, {{m: null}}]\n"})
    token = bench.token(scope)

    change = _first_put(bench, f"{service}/prod", token)
    body = bench.get(f"{service}/prod", token=token).json()

    assert change["doc"] == body["config"]
    assert (change["etag"], change["version"], change["head"]) == (body["etag"], body["version"], body["head"])


def test_a_stream_tells_of_what_is_held_back_like_a_read(bench: Serving) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": "n: 1\n"})
    bench.push({f"{service}.yml": "n: [\n"})

    change = _first_put(bench, f"{service}/prod", bench.token())

    assert change["stale"] == bench.body(f"{service}/prod")["stale"]


def test_who_may_read_and_view_reads(bench: Serving, bao: Bao) -> None:
    service = bench.new_service()
    bao.put(f"services/{service}/prod/db", {"password": "p"})
    bench.push({f"{service}.yml": f"a: ${{vault:kv/services/{service}/prod/db#password}}\n"})
    scopes = {
        f"config:view config:read:{service}": "p",
        f"config:view config:read:{service}/staging": "******",
        "config:write": "******",
    }

    answers = {scope: bench.get(f"{service}/prod", token=bench.token(scope)) for scope in scopes}

    assert {scope: answer.json()["config"]["a"] for scope, answer in answers.items()} == scopes
    assert len({answer.headers["ETag"] for answer in answers.values()}) == 2


def test_secrets_are_masked_in_files_and_formats_for_who_may_view(bench: Serving, bao: Bao) -> None:
    service = bench.new_service()
    bao.put(f"services/{service}/prod/db", {"password": "p4ss"})
    text = f"url: pg://u:${{vault:kv/services/{service}/prod/db#password}}@db\ncopy: <${{url}}>\n"
    bench.push({f"{service}.yml": text, f"{service}.conf": "${url} ${copy}\n"})
    viewer = bench.token(VIEW_ALL)

    assert bench.get(f"{service}/prod/{service}.conf").text == "pg://u:p4ss@db <pg://u:p4ss@db>\n"
    assert bench.get(f"{service}/prod/{service}.conf", token=viewer).text == "****** ******\n"
    for name in ("json", "yaml", "properties", "env", "toml"):
        answer = bench.get(f"{service}/prod", token=viewer, format=name)
        assert answer.status_code == 200
        assert "p4ss" not in answer.text
        assert "vault:" not in answer.text
    resolved, masked = (bench.get(f"{service}/prod/{service}.conf", token=token) for token in (None, viewer))
    assert resolved.headers["ETag"] != masked.headers["ETag"]


def test_a_file_of_an_unprotected_branch_shows_references_and_no_secrets(bench: Serving, bao: Bao) -> None:
    service = bench.new_service()
    bao.put(f"services/{service}/prod/db", {"password": "p4ss"})
    reference = f"${{vault:kv/services/{service}/prod/db#password}}"
    bench.origin.branch(f"wild-{service}")
    bench.push({f"{service}.yml": f"a: {reference}\n", f"{service}.conf": f"${{a}} {reference}\n"})
    bench.origin.branch("main")

    text = bench.get(f"{service}/prod/{service}.conf", label=f"wild-{service}").text

    assert text == f"{reference} {reference}\n"


def test_a_protected_label_that_is_no_default_is_resolved(bench: Serving, bao: Bao) -> None:
    service = bench.new_service()
    bao.put(f"services/{service}/prod/db", {"password": "p"})
    bench.origin.branch("release")
    bench.push({f"{service}.yml": f"a: ${{vault:kv/services/{service}/prod/db#password}}\n"})
    commit = bench.origin.head
    bench.origin.branch("main")

    assert bench.config(f"{service}/prod", label="release")["a"] == "p"
    assert bench.config(f"{service}/prod", label=commit)["a"] == "p"
