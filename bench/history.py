"""The first page of a target's history, in a repository of 5,000 commits and 30,000 files."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.measure import Row, save, written
from bench.process import load_average
from devstack.issuer import LocalIssuer
from devstack.server import Server

COMMITS, FILES, SERVICES = 5_000, 30_000, 500
#: What was promised, in seconds.
BOUND = 0.150
_ENVS = ("prod", "staging")
_PAGES = 40
_PATIENCE = 900.0
_BEGAN = 1_700_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Each service has four files in a folder of its own; the other `files` lie beside, a hundred in a folder.

    Each commit changes a service by dice, each seventh one of the `pages` that are asked for too, each fiftieth a
    shared key that all of them override.
    """

    commits: int = COMMITS
    files: int = FILES
    services: int = SERVICES
    pages: int = _PAGES
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Found:
    """Seconds: each target's first page, the same again, and until the history was kept. `shown`: commits on a page."""

    first: list[float]
    again: list[float]
    kept_after: float
    shown: list[int]


def rows(plan: Plan | None = None, *, keep: bool = True) -> list[Row]:
    plan = plan or Plan()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        found = measure(Path(directory), plan)
    name = f"{plan.commits} commits, {plan.files} files"
    table = [
        Row(f"{name}: first page of a target, slowest of {plan.pages}", max(found.first), "s", BOUND),
        Row(f"{name}: the same again", max(found.again), "s", BOUND),
        Row(f"{name}: history kept after", found.kept_after, "s", note=f"load {load_average():g}"),
    ]
    if keep:
        save("history", table, first=found.first, again=found.again, shown=found.shown)
    return table


def measure(directory: Path, plan: Plan) -> Found:
    """Ask a server of one worker, when it has kept the history, for targets that it has never served."""
    with staged(directory, plan, scope="config:view") as (server, client):
        kept_after = _wait_until_kept(server)
        targets = [f"{service_name(number)}/prod" for number in range(plan.pages)]
        pages = [_page(client, target) for target in targets]
        again = [_page(client, target)[0] for target in targets]
        return Found([seconds for seconds, _ in pages], again, kept_after, [shown for _, shown in pages])


@contextmanager
def staged(directory: Path, plan: Plan, *, scope: str, **settings: str) -> Iterator[tuple[Server, httpx.Client]]:
    """A server of one worker over such a repository, and a client whose token is known there."""
    origin = directory / "origin.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(origin)], check=True)  # noqa: S603, S607 - our own
    _import(origin, plan)
    with ExitStack() as closing:
        issuer = closing.enter_context(LocalIssuer())
        common = {
            "REPO_URL": str(origin),
            "ENVS": ",".join(_ENVS),
            "SEARCH_PATHS": "/,services/{service}",
            "JWT_ISSUER": issuer.url,
            "JWT_AUDIENCE": issuer.audience,
            "JWT_JWKS_URL": issuer.jwks_url,
            "POLL_SECONDS": "3600",
        }
        server = Server(directory / "server", {**common, **settings})
        closing.callback(server.close)
        server.start()
        headers = {"Authorization": f"Bearer {issuer.token(scope=scope)}"}
        client = closing.enter_context(httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60))
        client.get("/v1/admin/status").raise_for_status()  # the token, the connection
        yield server, client


def _page(client: httpx.Client, target: str) -> tuple[float, int]:
    began = time.perf_counter()
    answer = client.get(f"/v1/history/{target}")
    seconds = round(time.perf_counter() - began, 4)
    answer.raise_for_status()
    return seconds, len(answer.json()["revisions"])


def _wait_until_kept(server: Server) -> float:
    """How long it took, in seconds, since the server answers."""
    began = time.monotonic()
    deadline = began + _PATIENCE
    while not any(line.get("message") == "history.kept" for line in server.log_lines()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the history is not kept after {_PATIENCE:g} s")
        time.sleep(0.2)
    return round(time.monotonic() - began, 1)


def _import(origin: Path, plan: Plan) -> None:
    """By git fast-import: a working copy would take an hour."""
    with subprocess.Popen(["git", "-C", str(origin), "fast-import", "--quiet"], stdin=subprocess.PIPE) as process:  # noqa: S603, S607 - our own
        if process.stdin is None:
            raise RuntimeError("a process without a pipe")
        for piece in _commits(plan):
            process.stdin.write(piece.encode())
        process.stdin.close()
        if process.wait() != 0:
            raise RuntimeError("git fast-import has failed")


def _commits(plan: Plan) -> Iterator[str]:
    dice = random.Random(plan.seed)  # noqa: S311 - which services change, the same in every run
    yield from _commit(0)
    yield _file("application.yml", "limit: 0\nlog: info\n")
    for number in range(plan.services):
        folder = f"services/{service_name(number)}"
        yield _file(f"{folder}/{service_name(number)}.yml", f"limit: 5\nown: {number}\npool: 0\n")
        yield _file(f"{folder}/{service_name(number)}.properties", "threads=4\n")
        for env in _ENVS:
            yield _file(f"{folder}/{service_name(number)}-{env}.yml", f"host: {env}.example.org\n")
    for number in range(plan.files - 4 * plan.services):
        yield _file(f"others/{number // 100:04}/{number % 100:02}.txt", f"{number}\n")
    for commit in range(1, plan.commits):
        yield from _commit(commit)
        for chosen in {dice.randrange(plan.services), *([commit % plan.pages] if commit % 7 == 0 else [])}:
            path = f"services/{service_name(chosen)}/{service_name(chosen)}.yml"
            yield _file(path, f"limit: 5\nown: {chosen}\npool: {commit}\n")
        if commit % 50 == 0:
            yield _file("application.yml", f"limit: {commit}\nlog: info\n")


def _commit(number: int) -> Iterator[str]:
    who = f"Ada <ada@example.org> {_BEGAN + 60 * number} +0000"
    yield f"commit refs/heads/main\nauthor {who}\ncommitter {who}\ndata {len(str(number))}\n{number}\n"


def _file(path: str, text: str) -> str:
    return f"M 100644 inline {path}\ndata {len(text)}\n{text}\n"


def service_name(number: int) -> str:
    return f"service{number:05}"


if __name__ == "__main__":
    sys.stdout.write(written(rows()) + "\n")
