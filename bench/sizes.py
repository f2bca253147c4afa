"""Repositories of 1,000, 10,000 and 30,000 files, all in one folder: what grows with them and what does not."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from bench.imported import Imported
from bench.load import Load
from bench.measure import Row, save
from bench.process import rss_mb
from bench.stage import Served
from bench.wire import Opening, websocket

SIZES = (1_000, 10_000, 30_000)
TARGETS = 2_000
#: What was promised of the biggest: seconds, and megabytes of a worker.
START_BOUND, MEMORY_BOUND, READ_BOUND, COMMIT_BOUND = 3.0, 150.0, 0.010, 0.060
#: The biggest beside the smallest, where "flat" was promised.
FLAT = 2.0
_ENVS = ("prod", "staging", "test", "dev")
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: `targets` subscribed, `reads` of cold targets, `commits` of one file, `shared` to all."""

    targets: int = TARGETS
    reads: int = 40
    commits: int = 7
    shared: int = 2
    starts: int = 1


@dataclass(frozen=True, slots=True)
class Found:
    """Of one size: seconds of each repetition, and megabytes (resident set of the worker, before and with streams)."""

    start: list[float]
    read: list[float]
    commit: list[float]
    shared: list[float]
    memory: float
    full: float


def rows(sizes: Sequence[int] = SIZES, plan: Plan | None = None, *, keep: bool = True) -> list[Row]:
    plan = plan or Plan()
    found: dict[int, Found] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            found[size] = measure(Path(directory), size, plan)
    table = _table(found, plan)
    if keep:
        save("sizes", table, found={size: asdict(each) for size, each in found.items()})
    return table


def measure(directory: Path, size: int, plan: Plan) -> Found:
    """In a server of one worker, over a repository of `size` files."""
    services = plan.targets // len(_ENVS)
    origin = Imported(directory / "origin.git")
    origin.commit(_files(size, services, plan.reads))
    settings = {"ENVS": ",".join(_ENVS)}
    with Served(directory, origin.url, settings, streams=plan.targets + 100) as served:
        starts = [_restart(served) for _ in range(plan.starts)]
        reads = _first_reads(served, plan.reads)
        memory = rss_mb(served.worker)
        with Load(served.server.port) as load:
            load.open(_openings(served, services), timeout=_PATIENCE)
            one = [_change(served, origin, load, f"{_name(n)}.yml", n, tell=len(_ENVS)) for n in range(plan.commits)]
            everyone = len(_ENVS) * services
            all_of = [_change(served, origin, load, "application.yml", n, tell=everyone) for n in range(plan.shared)]
        return Found(starts, reads, one, all_of, memory, rss_mb(served.worker))


def _restart(served: Served) -> float:
    served.server.stop()
    began = time.monotonic()
    served.server.start(timeout=120)
    return round(time.monotonic() - began, 3)


def _first_reads(served: Served, count: int) -> list[float]:
    """Of targets that nobody has asked for; the token and the connection are known."""
    headers = {"Authorization": f"Bearer {served.issuer.token(scope='config:read:*/*')}"}
    with httpx.Client(base_url=served.server.url, headers=headers, trust_env=False) as client:
        client.get("/v1/config/nobody/prod").raise_for_status()
        return [_read(client, f"/v1/config/{_cold(number)}/prod") for number in range(count)]


def _read(client: httpx.Client, path: str) -> float:
    began = time.perf_counter()
    answer = client.get(path)
    seconds = round(time.perf_counter() - began, 5)
    answer.raise_for_status()
    return seconds


def _change(served: Served, origin: Imported, load: Load, path: str, number: int, *, tell: int) -> float:
    """Push a file that `tell` clients follow; what the worker took from what was fetched until all were woken."""
    marker = f"marker-{path}-{number}-"
    origin.commit({path: f"release-of-{path}: {marker}\n{_text(number)}"})
    load.expect(marker)
    served.hook()
    if load.arrivals(timeout=_PATIENCE, count=tell).lost:
        raise RuntimeError(f"a change of {path} did not reach all of {tell}")
    return served.install_seconds()


def _openings(served: Served, services: int) -> list[Opening]:
    token = served.issuer.token(scope="config:read:*/*", lifetime=7200)
    names = [f"{_name(number)}/{env}/main" for number in range(services) for env in _ENVS]
    return [websocket(token, name, f"instance-{number}") for number, name in enumerate(names)]


def _files(size: int, services: int, cold: int) -> Mapping[str, str]:
    """One for all, one for each service and one for its production, and what nobody asks for."""
    named = [*map(_name, range(services)), *map(_cold, range(cold))]
    files = {"application.yml": _text(0)}
    for number, name in enumerate(named):
        files |= {f"{name}.yml": _text(number), f"{name}-prod.yml": f"host: {name}.example.org\n"}
    others = (f"other-{number:05}.yml" for number in range(size))
    while len(files) < size:
        files[next(others)] = f"own: {len(files)}\n"
    return dict(list(files.items())[:size])


def _text(number: int) -> str:
    return "".join(f"setting-{line:02}: value {line} of number {number}\n" for line in range(20))


def _name(number: int) -> str:
    return f"service-{number:04}"


def _cold(number: int) -> str:
    return f"cold-{number:04}"


def _table(found: Mapping[int, Found], plan: Plan) -> list[Row]:
    small, big = min(found), max(found)
    name, beside = f"{big} files", f"at {small} files"
    least, most = found[small], found[big]

    def row(what: str, unit: str, values: tuple[float, float], bound: float | None, *, of_ratio: bool = False) -> Row:
        grows = growth({small: values[0], big: values[1]})
        rounded = [float(f"{value:.4g}") for value in values]
        note = f"grows with the files to the power of {grows:.2f}"
        return Row(f"{name}: {what}", rounded[1], unit, bound, rounded[0], note, of_ratio=of_ratio, beside=beside)

    def middles(of: str) -> tuple[float, float]:
        return statistics.median(getattr(least, of)), statistics.median(getattr(most, of))

    return [
        row("start with a mirror, to ready", "s", middles("start"), START_BOUND),
        row("memory of the worker", "MB", (least.memory, most.memory), MEMORY_BOUND),
        row(f"the same with {plan.targets} streams", "MB", (least.full, most.full), None),
        row(f"first read, slowest of {plan.reads}", "s", (max(least.read), max(most.read)), READ_BOUND),
        row("first read, median", "s", middles("read"), READ_BOUND),
        row("one-file commit until all are woken", "s", middles("commit"), COMMIT_BOUND),
        row("the same stays flat", "s", middles("commit"), FLAT, of_ratio=True),
        row(f"a file that {plan.targets} subscribed targets see", "s", middles("shared"), None),
    ]


def growth(values: Mapping[int, float]) -> float:
    """The exponent e of size ** e that leads from the first to the last; 0 is flat, 1 is in proportion."""
    small, big = min(values), max(values)
    return math.log(values[big] / values[small]) / math.log(big / small) if values[small] > 0 else 0.0
