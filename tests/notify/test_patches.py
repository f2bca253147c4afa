"""A change as a patch: only to who takes it, from what it holds, where it is small; and it makes the new document."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import jsonpatch
import pytest

from app.effective import canonical
from tests.notify.stage import Conversation, Stage

PAY = "pay/prod/main"
BIG = "".join(f"key{n}: value number {n}\n" for n in range(40))
TAKES = {"accepts_patches": True}


@pytest.fixture
def big(stage: Stage) -> Stage:
    stage.push({"pay.yml": BIG + "db:\n  pool: 5\n  hosts: [a, b]\n"})
    return stage


def change(told: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [frame for frame in told if frame["type"] == "change"]
    return found


def reader(stage: Stage) -> tuple[Conversation, dict[str, Any]]:
    """Somebody who takes patches, and the document that it begins with."""
    client = stage.connect()
    return client, change(client.resume({PAY: None}, **TAKES))


def applied(document: Any, told: dict[str, Any]) -> Any:
    made = jsonpatch.JsonPatch(told["patch"]).apply(copy.deepcopy(document))
    assert hashlib.sha256(canonical(made)).hexdigest() == told["sum"]
    return made


def test_who_takes_patches_is_told_what_differs_from_what_it_holds(big: Stage) -> None:
    client, first = reader(big)
    commit = big.push({"pay.yml": BIG + "db:\n  pool: 6\n  hosts: [a, c]\nnew: 1\n"})
    told = change(client.due())
    assert (told["op"], told["base"], told["version"]) == ("patch", first["etag"], commit)
    assert set(told["keys"]) == {"db.pool", "db.hosts[1]", "new"}
    assert sorted(each["path"] for each in told["patch"]) == ["/db/hosts", "/db/pool", "/new"]
    whole = change(big.connect().subscribe(PAY))
    assert applied(first["doc"], told) == whole["doc"]
    assert (told["etag"], told["sum"]) == (whole["etag"], whole["sum"])


def test_patch_after_patch_the_document_is_the_right_one(big: Stage) -> None:
    client, first = reader(big)
    held, etag = first["doc"], first["etag"]
    for files in (
        "db: {pool: 6}\n",
        "db: {pool: '6'}\n",
        "other: [1]\n",
        "other: {a: []}\n",
        "db:\n  pool: 5\n  hosts: [a, b]\n",
    ):
        big.push({"pay.yml": BIG + files})
        told = change(client.due())
        assert (told["op"], told["base"]) == ("patch", etag)
        held, etag = applied(held, told), told["etag"]
    assert etag == first["etag"]
    assert held == first["doc"]


def test_who_does_not_take_patches_gets_the_document(big: Stage) -> None:
    client = big.connect()
    client.subscribe(PAY)
    big.push({"pay.yml": BIG + "db:\n  pool: 6\n"})
    told = change(client.due())
    assert told["op"] == "put"
    assert "base" not in told


def test_who_comes_back_with_a_known_etag_gets_a_patch_and_with_another_the_document(big: Stage) -> None:
    _, first = reader(big)
    big.push({"pay.yml": BIG + "db:\n  pool: 6\n"})
    told = change(big.connect().resume({PAY: first["etag"]}, **TAKES))
    assert (told["op"], told["base"]) == ("patch", first["etag"])
    assert change(big.connect().resume({PAY: "f" * 32}, **TAKES))["op"] == "put"


def test_a_patch_of_half_the_document_is_not_worth_it(big: Stage) -> None:
    client, _ = reader(big)
    big.push({"pay.yml": BIG.replace("value", "another")})
    assert change(client.due())["op"] == "put"


def test_all_who_hold_the_same_get_the_same_bytes(big: Stage) -> None:
    clients = [reader(big)[0] for _ in range(3)]
    big.push({"pay.yml": BIG + "db:\n  pool: 6\n"})
    first, *others = [client.session.due()[0] for client in clients]
    assert first.op == "patch"
    assert all(other is first for other in others)


def test_a_patch_is_one_of_the_document_that_the_view_holds(big: Stage) -> None:
    viewer = big.connect("config:view")
    first = change(viewer.resume({PAY: None}, **TAKES))
    big.push({"pay.yml": BIG + "db:\n  pool: 6\n  hosts: [a, b]\n"})
    told = change(big.connect("config:view").resume({PAY: first["etag"]}, **TAKES))
    assert told["op"] == "patch"
    assert applied(first["doc"], told)["db"]["pool"] == 6


def test_a_forced_push_is_told_as_such_until_the_next_change(big: Stage) -> None:
    good = big.origin.head
    big.push({"pay.yml": BIG + "db:\n  pool: 6\n"})
    client, first = reader(big)
    assert "rewritten" not in first
    big.origin.force(good)
    big.pull()
    told = change(client.due())
    assert (told["op"], told["rewritten"], told["head"]) == ("patch", True, good)
    big.push({"pay.yml": BIG + "db:\n  pool: 7\n"})
    assert "rewritten" not in change(client.due())


def test_a_stale_state_never_carries_a_document(big: Stage) -> None:
    client, first = reader(big)
    big.push({"pay.yml": "db: [\n"})
    told = change(client.due())
    assert (told["op"], told["etag"]) == ("state", first["etag"])
