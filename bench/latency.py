"""How long a read waits at half of what a worker can answer, and while a commit of 30,000 files is being installed."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.measure import Row, save, spread, written
from bench.process import load_average, pin
from bench.read_stage import request_text
from bench.requester import Plan as Requests
from bench.requester import Told, finish, run, start
from bench.wrk import rate
from devstack.issuer import LocalIssuer
from devstack.server import Server

FILES = 30_000
#: What was promised: p99 of so many times p50, and so many seconds that a read waits for an installation.
SHARE_BOUND, WAIT_BOUND = 3.0, 0.050
_PACE = 200.0
_TARGETS = 50


@dataclass(frozen=True, slots=True)
class Found:
    """Seconds. `rounds`: p50 and p99 at `half` of the maximum rate (requests a second); the longest waits of rounds
    without an installation (`calm`) and with one (`waited`), and how long it took (`installing`)."""

    half: float
    rounds: list[tuple[float, float]]
    calm: list[float]
    waited: list[float]
    installing: list[float]


def rows(files: int = FILES, *, keep: bool = True) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        found = measure(Path(directory), files)
    p50, p99 = (statistics.median(column) for column in zip(*found.rounds, strict=True))
    share = round(statistics.median(slow / usual for usual, slow in found.rounds), 2)
    note = f"p50 {p50 * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms at {found.half:.0f} a second; load {load_average():g}"
    longest, calm = statistics.median(found.waited), statistics.median(found.calm)
    took = f"installing took {statistics.median(found.installing):.1f} s; beside it: the longest wait without"
    table = [
        Row("read at half of the maximum rate: p99, of p50", share, "x", SHARE_BOUND, note=note),
        Row(f"{files} files changed at once: longest wait of a read", longest, "s", WAIT_BOUND, calm, took),
    ]
    if keep:
        save("latency", table, rounds=found.rounds, calm=found.calm, waited=found.waited, installing=found.installing)
    return table


def measure(directory: Path, files: int, *, rounds: int = 3, seconds: float = 5.0) -> Found:
    origin = directory / "origin.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(origin)], check=True)  # noqa: S603, S607 - our own
    _commit(origin, files, 0)
    with ExitStack() as closing:
        issuer = closing.enter_context(LocalIssuer())
        server = Server(directory / "server", _settings(origin, issuer))
        closing.callback(server.close)
        server.start()
        pin(server.workers[0], 0)
        headers = {"Authorization": f"Bearer {issuer.token(scope='config:read:*/* config:write')}"}
        client = closing.enter_context(httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60))
        requests = []
        for number in range(_TARGETS):
            client.get(_path(number)).raise_for_status()
            requests.append(request_text(_path(number), headers))
        half = round(rate(server.port, requests, 2) / 2)
        found = Found(half, [], [], [], [])
        for _ in range(rounds):
            told = spread(sorted(run(Requests(server.port, requests, seconds, half)).waited), 0.0)
            found.rounds.append((told.p50, told.p99))
        for number in range(1, rounds + 1):
            _commit(origin, files, number)
            paced = Requests(server.port, requests, seconds, _PACE)
            found.calm.append(round(max(run(paced).waited), 4))
            told_meanwhile, took = _installing(client, paced)
            found.waited.append(round(max(told_meanwhile.waited), 4))
            found.installing.append(took)
    return found


def _installing(client: httpx.Client, requests: Requests) -> tuple[Told, float]:
    """Ask for it while the requests are under way; what they say, and how long it took."""
    asking = start(requests)
    time.sleep(1.0)  # it has to begin
    began = time.monotonic()
    client.post("/v1/admin/refresh").raise_for_status()
    took = round(time.monotonic() - began, 2)
    return finish(asking), took


def _settings(origin: Path, issuer: LocalIssuer) -> dict[str, str]:
    return {
        "REPO_URL": str(origin),
        "ENVS": "prod",
        "JWT_ISSUER": issuer.url,
        "JWT_AUDIENCE": issuer.audience,
        "JWT_JWKS_URL": issuer.jwks_url,
        "POLL_SECONDS": "3600",
    }


def _path(number: int) -> str:
    return f"/v1/config/service{number:05}/prod"


def _commit(origin: Path, files: int, number: int) -> None:
    """Every file of the repository is another than before."""
    command = ["git", "-C", str(origin), "fast-import", "--quiet"]
    subprocess.run(command, input="".join(_import(files, number)), text=True, check=True)  # noqa: S603 - our own


def _import(files: int, number: int) -> Iterator[str]:
    who = f"Ada <ada@example.org> {1_700_000_000 + 60 * number} +0000"
    yield f"commit refs/heads/main\nauthor {who}\ncommitter {who}\ndata 1\n{number}\n"
    if number:
        yield "from refs/heads/main^0\n"
    for each in range(files):
        text = f"own: {each}\nround: {number}\n"
        yield f"M 100644 inline service{each:05}.yml\ndata {len(text)}\n{text}\n"


if __name__ == "__main__":
    sys.stdout.write(written(rows()) + "\n")
