"""Long polls: `wait=SECONDS` with If-None-Match."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from tests.serving import Serving, serving
from tests.support import eventually

#: Seconds that a poll may wait at most, and within which an answer has not waited for them.
LONG, SOON = 50, 8


def _waiting(running: Serving) -> int:
    return len(running.server.services.notifier)


def _poll(running: Serving, pool: ThreadPoolExecutor, coordinates: str, wait: float) -> Future[httpx.Response]:
    """Start a long poll on a client of its own, and return once the server holds it. It is to be the first."""
    eventually(lambda: _waiting(running) == 0)  # the streams of tests before may be ending still
    held = running.get(coordinates).headers["ETag"]
    headers = {"If-None-Match": held, "Authorization": f"Bearer {running.token()}"}

    def ask() -> httpx.Response:
        url = f"{running.server.url}/v1/config/{coordinates}?wait={wait}"
        return httpx.get(url, headers=headers, trust_env=False, timeout=wait + 30)

    future = pool.submit(ask)
    eventually(lambda: _waiting(running) == 1)
    return future


def _pooled(test: Callable[[ThreadPoolExecutor], None]) -> None:
    with ThreadPoolExecutor() as pool:
        test(pool)


def test_a_long_poll_answers_when_the_configuration_changes(bench: Serving) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": "n: 1\n"})

    def test(pool: ThreadPoolExecutor) -> None:
        poll = _poll(bench, pool, f"{service}/prod", LONG)
        commit = bench.push({f"{service}.yml": "n: 2\n"})
        answer = poll.result(SOON)
        assert (answer.status_code, answer.json()["config"]["n"], answer.json()["version"]) == (200, 2, commit)

    _pooled(test)
    eventually(lambda: _waiting(bench) == 0)


def test_a_long_poll_sleeps_through_what_changes_nothing_for_it(bench: Serving) -> None:
    service, other = bench.new_service(), bench.new_service()
    bench.push({f"{service}.yml": "n: 1\n"})

    def test(pool: ThreadPoolExecutor) -> None:
        poll = _poll(bench, pool, f"{service}/prod", LONG)
        bench.push({f"{other}.yml": "n: 1\n"})
        bench.push({f"{service}.yml": "# a comment\nn: 1\n"})
        bench.push({f"{service}.yml": "n: [\n"})  # held back, so the configuration stays
        held = bench.get(f"{service}/prod").headers["ETag"]
        answer = bench.get(f"{service}/prod", wait=0.1, headers={"If-None-Match": held})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["X-Config-Stale"].startswith("invalid;")
        commit = bench.push({f"{service}.yml": "n: 2\n"})
        woken = poll.result(SOON)
        assert woken.status_code == 200
        assert (woken.json()["config"]["n"], woken.json()["version"]) == (2, commit)

    _pooled(test)


def test_a_long_poll_answers_when_a_secret_is_rotated(bench: Serving, bao: Bao) -> None:
    service = bench.new_service()
    bao.put(f"services/{service}/prod/db", {"password": "one"})
    bench.push({f"{service}.yml": f"a: ${{vault:kv/services/{service}/prod/db#password}}\n"})

    def test(pool: ThreadPoolExecutor) -> None:
        poll = _poll(bench, pool, f"{service}/prod", LONG)
        bao.put(f"services/{service}/prod/db", {"password": "two"})
        assert bench.server.services.secret_watch.tick() >= 1
        assert poll.result(SOON).json()["config"]["a"] == "two"

    _pooled(test)


def test_without_a_tag_or_with_another_one_the_answer_is_at_once(bench: Serving) -> None:
    service = bench.new_service()
    bench.push({f"{service}.yml": "n: 1\n"})
    started = time.monotonic()

    assert bench.get(f"{service}/prod", wait=LONG).status_code == 200
    assert bench.get(f"{service}/prod", wait=LONG, headers={"If-None-Match": '"other"'}).status_code == 200
    assert time.monotonic() - started < SOON


def test_when_nothing_changes_it_is_304_after_the_time(bench: Serving) -> None:
    held = bench.get("any/prod").headers["ETag"]
    started = time.monotonic()

    answer = bench.get("any/prod", wait=0.3, headers={"If-None-Match": held})

    assert answer.status_code == 304
    assert 0.3 <= time.monotonic() - started < SOON
    assert answer.headers["X-Config-Rev"]


def test_a_branch_that_goes_away_ends_the_wait_with_404(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: 1\n"}) as running, ThreadPoolExecutor() as pool:
        running.origin.branch("gone")
        running.origin.branch("main")
        running.refresh()
        poll = _poll(running, pool, "pay/prod", LONG)
        doomed = running.get("pay/prod", label="gone").headers["ETag"]
        late = pool.submit(running.get, "pay/prod", label="gone", wait=LONG, headers={"If-None-Match": doomed})
        eventually(lambda: _waiting(running) == 2)
        running.origin.delete_branch("gone")
        running.refresh()
        assert late.result(SOON).status_code == 404
        running.push({"pay.yml": "n: 2\n"})
        assert poll.result(SOON).status_code == 200


def test_a_server_that_goes_away_answers_every_long_poll(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: 1\n"}) as running, ThreadPoolExecutor() as pool:
        poll = _poll(running, pool, "pay/prod", LONG)
        closing = threading.Thread(target=running.server.close)
        closing.start()
        assert poll.result(SOON).status_code == 304
        closing.join(40)
        assert not closing.is_alive()


def test_a_worker_that_drains_answers_at_once_who_asks_it_to_wait(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: 1\n"}) as running:
        held = running.get("pay/prod").headers["ETag"]
        running.server.services.drain()
        started = time.monotonic()
        assert running.get("pay/prod", wait=LONG, headers={"If-None-Match": held}).status_code == 304
        assert time.monotonic() - started < SOON


def test_a_full_worker_refuses_to_wait_and_goes_on_answering(tmp_path: Path, issuer: LocalIssuer) -> None:
    settings: dict[str, Any] = {"streams_per_worker": 1}
    with serving(tmp_path, issuer, {"pay.yml": "n: 1\n"}, **settings) as running, ThreadPoolExecutor() as pool:
        poll = _poll(running, pool, "pay/prod", LONG)
        held = running.get("pay/prod").headers["ETag"]
        refused = running.get("pay/prod", wait=LONG, headers={"If-None-Match": held})
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:config-server:overloaded")
        assert int(refused.headers["Retry-After"]) >= 1
        assert running.get("pay/prod", headers={"If-None-Match": held}).status_code == 304
        running.push({"pay.yml": "n: 2\n"})
        assert poll.result(SOON).status_code == 200
