"""Files that mean harm: refused quickly, and the server lives."""

from __future__ import annotations

import time

import pytest

from devstack.origin import git
from tests.engine.vault_proxy import VaultProxy
from tests.serving import Serving

BOMBS: dict[str, tuple[str, str | bytes]] = {
    "100,000 brackets": ("yml", "a: " + "[" * 100_000),
    "brackets in json": ("json", "[" * 100_000),
    "a billion laughs": (
        "yml",
        "a0: &a0 [lol, lol]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)),
    ),
    "a merge bomb": (
        "yml",
        "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)),
    ),
    "a Python object": ("yml", "a: !!python/object/apply:os.system ['touch /tmp/pwned']\n"),
    "a tag": ("yml", "a: !vault x\n"),
    "a giant integer": ("yml", "a: " + "9" * 5_000 + "\n"),
    "a duplicate key": ("yml", "a: 1\na: 2\n"),
    "a placeholder bomb": (
        "yml",
        "a0: aaaaaaaaaa\n" + "".join(f"a{n}: '{f'${{a{n - 1}}}' * 10}'\n" for n in range(1, 30)),
    ),
    "no UTF-8": ("yml", b"a: \xff\xfe\n"),
    "a control character": ("yml", "a: \x07\n"),
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_bomb_is_refused_quickly_and_keeps_the_last_good(bench: Serving, what: str) -> None:
    service = bench.new_service()
    extension, content = BOMBS[what]
    good = bench.push({f"{service}.properties": "n=1\n"})
    bench.push({f"{service}-prod.{extension}": content})
    started = time.process_time()  # the server is in this process

    body = bench.body(f"{service}/prod")

    assert time.process_time() - started < 1
    assert (body["version"], body["config"]["n"]) == (good, "1")
    assert body["stale"][0]["detail"].startswith(f"{service}-prod.{extension}")
    assert len(body["stale"][0]["detail"]) < 500
    assert bench.ask("/health/live").status_code == 200


@pytest.mark.parametrize("text", ["when: 2026-13-45\n", "when: 2026-11-23\n"])
def test_what_looks_like_a_date_is_a_text(bench: Serving, text: str) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": text})

    assert bench.config(f"{service}/prod")["when"] == text.partition(" ")[2].strip()


def test_a_submodule_in_the_place_of_a_file_is_refused(bench: Serving) -> None:
    service = bench.new_service()
    bench.push({f"{service}.properties": "n=1\n"})
    entry = f"160000,{bench.origin.head},{service}.yml"
    git(bench.origin.work, "update-index", "--add", "--cacheinfo", entry)
    git(bench.origin.work, "commit", "--quiet", "-m", "a submodule")
    bench.origin.push()
    bench.refresh()

    body = bench.body(f"{service}/prod")

    assert body["config"]["n"] == "1"
    assert "submodule" in body["stale"][0]["detail"]
    git(bench.origin.work, "rm", "--quiet", "--cached", f"{service}.yml")
    bench.push({})


def test_names_that_differ_in_case_are_different_services(bench: Serving) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": "n: 1\n", f"{service.upper()}.yml": "n: 2\n"})

    assert bench.config(f"{service}/prod")["n"] == 1
    assert bench.config(f"{service.upper()}/prod")["n"] == 2


def test_a_file_name_that_is_not_utf8_hides_no_other(bench: Serving) -> None:
    service = bench.new_service()
    (bench.origin.work / b"b\xff.yml".decode("utf-8", "surrogateescape")).write_text("a: 1\n")
    bench.push({f"{service}.yml": "n: 1\n"})

    assert bench.config(f"{service}/prod")["n"] == 1


REFERENCES = [
    "kv/a/../b#k",
    "kv/./a#k",
    "kv//a#k",
    "kv/%2e%2e/a#k",
    "kv/a/#k",
    "kv/a",
    "kv#k",
    "/a#k",
    "KV/a#k",
    "kv/a#",
    "kv/a#k@0",
    "kv/a#k@latest",
    "kv/a#k ",
    "kv/${service}/a#k",
    "kv/a\u0660#k",
    "kv/" + "/".join(["a"] * 16) + "#k",
]


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_malformed_reference_is_refused_and_vault_is_not_asked(
    bench: Serving, vault: VaultProxy, reference: str
) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": f"ok: 1\ndb:\n  password: '${{vault:{reference}}}'\n"})
    before = len(vault.asked)

    answer = bench.get(f"{service}/prod")

    assert answer.status_code == 422
    assert (answer.json()["file"], answer.json()["line"]) == (f"{service}.yml", 3)
    assert "db.password" in answer.json()["reason"]
    assert len(vault.asked) == before


def test_nothing_that_a_caller_sends_becomes_a_reference(bench: Serving, vault: VaultProxy) -> None:
    service = bench.new_service()
    path = "services/other/prod/db"
    bench.push({f"{service}.yml": f"a: '${{'\nb: 'vault:kv/{path}#password}}'\nc: ${{a}}${{b}}\n"})

    assert bench.config(f"{service}/prod")["c"] == f"${{vault:kv/{path}#password}}"
    assert vault.asked_for(path) == 0
