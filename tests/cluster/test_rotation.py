"""A new version of a secret is a revision: every worker answers with it from that revision on, and none before."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import pytest

from devstack.server import Server
from tests.cluster.clients import Client, WebSocketClient, arrived, ask, everywhere, on_each_worker
from tests.cluster.stack import Stack
from tests.support import eventually

REFERENCE = "${vault:kv/services/rotating/prod/db#password}"
CONFIGURATION = f'password: {REFERENCE}\nurl: "db://u:{REFERENCE}@h"\n'


def all_hold(clients: Sequence[Client], secret: str) -> bool:
    return all(held.doc["password"] == secret for client in clients for held in client.held().values())


@pytest.mark.slow
def test_a_rotation_reaches_both_workers_at_one_revision_and_the_old_secret_is_never_seen_after_it(
    shared: Stack, duo: Server
) -> None:
    token = shared.token("rotating")
    shared.bao.put("services/rotating/prod/db", {"password": "first"})
    version = shared.origin.write({"rotating.yml": CONFIGURATION})
    shared.refresh(duo)
    answers: defaultdict[str, set[tuple[str, str, str]]] = defaultdict(set)
    stop = threading.Event()

    def read_on() -> None:
        while not stop.is_set():
            answer = ask(duo, "/v1/config/rotating/prod", token)
            document = answer.json()
            config = document["config"]
            answers[answer.headers["X-Config-Rev"]].add((document["etag"], config["password"], config["url"]))

    readers = [threading.Thread(target=read_on) for _ in range(2)]
    with everywhere(duo, token, "rotating/prod") as clients:
        for reader in readers:
            reader.start()
        try:
            for secret in ("second", "third"):
                shared.bao.put("services/rotating/prod/db", {"password": secret})
                eventually(partial(all_hold, clients, secret))
                held = arrived(clients, version)
                assert len({(each.etag, each.rev) for each in held}) == 1
                assert {each.doc["url"] for each in held} == {f"db://u:{secret}@h"}
                eventually(partial(answers.__contains__, held[0].rev))
        finally:
            stop.set()
            for reader in readers:
                reader.join()
    assert all(len(seen) == 1 for seen in answers.values()), dict(answers)
    by_number = sorted(answers, key=lambda rev: int(rev.rpartition(".")[2]))
    secrets = [next(iter(answers[rev]))[1] for rev in by_number]
    assert secrets == sorted(secrets, key=["first", "second", "third"].index)
    assert {"second", "third"} <= set(secrets)


@pytest.mark.slow
def test_a_secret_that_is_deleted_or_destroyed_is_taken_from_both_workers_and_from_no_other_target(
    shared: Stack, duo: Server
) -> None:
    path = "services/taken/prod/db"
    token = shared.issuer.token(sub="both", scope="config:read:taken/* config:read:kept/*")
    reference = f"password: ${{vault:kv/{path}#password}}\n"
    shared.bao.put("services/kept/prod/db", {"password": "kept"})
    shared.bao.put(path, {"password": "first"})
    shared.origin.write({"taken.yml": reference, "kept.yml": reference.replace("taken", "kept")})
    shared.refresh(duo)

    def clients() -> WebSocketClient:
        return WebSocketClient(duo, token, {"taken/prod": None, "kept/prod": None})

    with on_each_worker(duo, clients) as both:
        eventually(lambda: all(len(client.held()) == 2 for client in both))
        before = [len(client.told.of("change")) for client in both]
        takings = (partial(shared.bao.delete, path), partial(shared.bao.destroy, path, 2))
        for number, take in enumerate(takings, 1):
            take()
            eventually(partial(_refused_everywhere, both, number), timeout=15)
            assert all(ask(duo, "/v1/config/taken/prod", token).status_code == 422 for _ in range(6))
            shared.bao.put(path, {"password": f"again {number}"})
            eventually(partial(_holds, both, f"again {number}"), timeout=15)
        told = [frame for client in both for frame in client.told.of("change")[before[both.index(client)] :]]
        assert {frame["topic"] for frame in told} == {"taken/prod/main"}
        assert not any("services/" in str(frame) for client in both for frame in client.told.of("error"))


def _refused_everywhere(clients: Sequence[WebSocketClient], times: int) -> bool:
    codes = [[frame["code"] for frame in client.told.of("error")] for client in clients]
    return all(each == ["secret-refused"] * times for each in codes)


def _holds(clients: Sequence[WebSocketClient], secret: str) -> bool:
    return all(client.held()["taken/prod/main"].doc["password"] == secret for client in clients)
