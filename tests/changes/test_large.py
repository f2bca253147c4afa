"""Changes that are a lot of work: the worker looks after its other requests meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.aside import aside
from app.changes import FileEdit
from app.changes.proposal import propose
from app.effective import KeyEdits
from app.errors import BadInput
from app.model import Blob, Tree
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from devstack.server import Server

KEYS = 1_000
#: Of a plan's time a small request may take, and how often that is tried: another program's turn is no fault of ours.
SHARE, TRIES = 0.25, 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Server]:
    """One worker, over a file of many keys and a shared one of many services."""
    directory = tmp_path_factory.mktemp("large")
    origin = OriginRepo(directory / "origin")
    keys = "".join(f"key{number}: {number}\n" for number in range(KEYS))
    services = ", ".join(f"s{number} = ['prod']" for number in range(1_200)).replace(", ", "\n").replace("'", '"')
    large = {name: keys.replace(": ", sign) for name, sign in (("pay.yml", ": "), ("pay.properties", "="))}
    targets = f"[targets]\n{services}\npay = ['prod']\n"
    origin.write({**large, "application.yml": "log: info\n", ".config-server/targets.toml": targets})
    settings = {
        "REPO_URL": origin.url,
        "JWT_ISSUER": issuer.url,
        "JWT_AUDIENCE": issuer.audience,
        "JWT_JWKS_URL": issuer.jwks_url,
        "ENVS": "prod,dev",
        "WORKERS": "1",
    }
    running = Server(directory / "host", settings)
    running.start()
    yield running
    running.close()


def planned(server: Server, issuer: LocalIssuer, edit: dict[str, Any]) -> tuple[httpx.Response, float]:
    """The answer to a plan, and the longest that a small request took meanwhile, as a share of the plan's time."""
    token = issuer.token(sub="ada", scope="config:write")
    answers: list[httpx.Response] = []

    def plan() -> None:
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{server.url}/v1/admin/plan"
        answers.append(httpx.post(url, json={"edits": [edit]}, headers=headers, timeout=60, trust_env=False))

    thread = threading.Thread(target=plan)
    longest, started = 0.0, time.perf_counter()
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        client.get("/health/live")
        thread.start()
        while thread.is_alive():
            begin = time.perf_counter()
            assert client.get("/health/live").status_code == 200
            longest = max(longest, time.perf_counter() - begin)
        thread.join()
    return answers[0], longest / (time.perf_counter() - started)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["pay.yml", "pay.properties"])
def test_worker_answers_others_while_many_keys_of_a_large_file_are_edited(
    server: Server, issuer: LocalIssuer, file: str
) -> None:

    def longest(attempt: int) -> float:
        values = {f"key{number}": f"new {attempt}" for number in range(100)}
        answer, share = planned(server, issuer, {"file": file, "set": values})
        assert answer.status_code == 200, answer.text
        assert answer.json()["files"] == [{"path": file, "op": "change"}]
        return share

    assert any(longest(attempt) < SHARE for attempt in range(TRIES))


@pytest.mark.slow
def test_worker_answers_others_while_thousands_of_targets_are_planned(server: Server, issuer: LocalIssuer) -> None:
    def longest(attempt: int) -> float:
        answer, share = planned(server, issuer, {"file": "application.yml", "text": f"log: debug {attempt}\n"})
        assert (len(answer.json()["targets"]), answer.json()["hidden"]) == (1_000, 201)
        return share

    assert any(longest(attempt) < SHARE for attempt in range(TRIES))


def test_edits_that_would_take_minutes_are_refused() -> None:
    tree = Tree("", {f"{number}.yml": Blob("100644", "0" * 40) for number in range(2)})
    keys = KeyEdits({(f"key{number}",): 1 for number in range(100)})
    small, large = b"key1: 1\n", b"# many\n" * 4_000
    edits = [FileEdit(path, keys) for path in tree.blobs]
    assert len(propose(edits, tree, lambda _: small, aside).files) == 2
    with pytest.raises(BadInput, match="edited as text"):
        propose(edits, tree, lambda _: large, aside)
