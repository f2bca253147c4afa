"""The first page of a target's history, in a repository of 5,000 commits and 30,000 files."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from bench.imported import Imported, file_of, head_of
from bench.measure import Row, save
from bench.stage import Served
from devstack.origin import git
from devstack.server import Server

COMMITS, FILES, SERVICES = 5_000, 30_000, 500
#: What was promised, in seconds.
BOUND = 0.150
_ENVS = ("prod", "staging")
_PAGES = 40
_PATIENCE = 120.0
#: Targets that Git is asked for too.
_WALKS = 5


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
    """Seconds: each target's first page, the same again, and until the history was kept. `shown`: commits on a page.

    `walks`: Git alone, asked for the same commits of some of the targets; `listing`: for the paths of all commits.
    """

    first: list[float]
    again: list[float]
    kept_after: float
    shown: list[int]
    walks: list[float]
    listing: float


def rows(plan: Plan | None = None, *, keep: bool = True) -> list[Row]:
    plan = plan or Plan()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        found = measure(Path(directory), plan)
    name = f"history, {plan.commits} commits, {plan.files} files"
    walk, beside = round(statistics.median(found.walks), 4), "git log for the same files"
    table = [
        Row(f"{name}: first page, slowest of {plan.pages}", max(found.first), "s", BOUND, walk, beside=beside),
        Row(f"{name}: the same again", max(found.again), "s", BOUND, walk, beside=beside),
        Row(f"{name}: kept after", found.kept_after, "s", floor=found.listing, beside="git log of all, with paths"),
    ]
    if keep:
        save("history", table, found=asdict(found))
    return table


def measure(directory: Path, plan: Plan) -> Found:
    """Ask a server of one worker, when it has kept the history, for targets that it has never served."""
    with staged(directory, plan, scope="config:view") as (server, client, origin):
        kept_after = _wait_until_kept(server)
        services = [service_name(number) for number in range(plan.pages)]
        pages = [_page(client, f"{service}/prod") for service in services]
        again = [_page(client, f"{service}/prod")[0] for service in services]
        walks = [_git_log(origin, "--max-count=20", "--", *_files(service)) for service in services[:_WALKS]]
        listing = _git_log(origin, "-r", "--raw", "--no-renames")
        return Found([seconds for seconds, _ in pages], again, kept_after, [n for _, n in pages], walks, listing)


def _files(service: str) -> list[str]:
    names = [f"{service}-prod.yml", f"{service}.yml", f"{service}.properties"]
    return ["application.yml", *(f"services/{service}/{name}" for name in names)]


def _git_log(origin: Imported, *arguments: str) -> float:
    began = time.perf_counter()
    git(origin.path, "log", "--first-parent", "--format=%H", *arguments)
    return round(time.perf_counter() - began, 4)


@contextmanager
def staged(directory: Path, plan: Plan, *, scope: str) -> Iterator[tuple[Server, httpx.Client, Imported]]:
    """A server of one worker over such a repository, a client whose token is known there, and the repository."""
    origin = Imported(directory / "origin.git")
    origin.add(_commits(plan))
    settings = {"ENVS": ",".join(_ENVS), "SEARCH_PATHS": "/,services/{service}"}
    with Served(directory, origin.url, settings, streams=100) as served:
        headers = {"Authorization": f"Bearer {served.issuer.token(scope=scope)}"}
        with httpx.Client(base_url=served.server.url, headers=headers, trust_env=False, timeout=60) as client:
            client.get("/v1/admin/status").raise_for_status()  # the token, the connection
            yield served.server, client, origin


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


def _commits(plan: Plan) -> Iterator[str]:
    dice = random.Random(plan.seed)  # noqa: S311 - which services change, the same in every run
    yield from head_of(0)
    yield file_of("application.yml", "limit: 0\nlog: info\n")
    for number in range(plan.services):
        folder = f"services/{service_name(number)}"
        yield file_of(f"{folder}/{service_name(number)}.yml", f"limit: 5\nown: {number}\npool: 0\n")
        yield file_of(f"{folder}/{service_name(number)}.properties", "threads=4\n")
        for env in _ENVS:
            yield file_of(f"{folder}/{service_name(number)}-{env}.yml", f"host: {env}.example.org\n")
    for number in range(plan.files - 4 * plan.services):
        yield file_of(f"others/{number // 100:04}/{number % 100:02}.txt", f"{number}\n")
    for commit in range(1, plan.commits):
        yield from head_of(commit)
        for chosen in {dice.randrange(plan.services), *([commit % plan.pages] if commit % 7 == 0 else [])}:
            path = f"services/{service_name(chosen)}/{service_name(chosen)}.yml"
            yield file_of(path, f"limit: 5\nown: {chosen}\npool: {commit}\n")
        if commit % 50 == 0:
            yield file_of("application.yml", f"limit: {commit}\nlog: info\n")


def service_name(number: int) -> str:
    return f"service{number:05}"
