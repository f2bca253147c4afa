"""Metrics of several real processes, before and after those are dead and folded."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.mmap_dict import MmapedDict

from app.observability.multiprocess import collecting, fold_dead

PROCESSES = 20


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a server of 20 processes counted, and what was left after each was folded."""
    directory = tmp_path_factory.mktemp("metrics")
    done = subprocess.run(
        [sys.executable, "-m", "tests.observability.worker", str(directory), str(PROCESSES)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_scrape_adds_up_all_processes(run: dict[str, Any]) -> None:
    before = run["before"]
    assert before['config_server_git_fetches_total{outcome="ok"}'] == PROCESSES
    assert before['config_server_cache_hits_total{cache="local"}'] == sum(range(PROCESSES + 1))
    assert before["config_server_git_fetch_duration_seconds_count"] == PROCESSES
    assert before["config_server_git_last_success_timestamp_seconds"] == 1000 + PROCESSES
    assert before['config_server_streams_open{transport="sse"}'] == 2 * PROCESSES
    requests = 'config_server_http_request_total{method="GET",status="200"}'
    assert before[requests] == PROCESSES


def test_folding_the_dead_changes_no_total(run: dict[str, Any]) -> None:
    live = ("streams_open", "cursor_seq")
    kept = {series: value for series, value in run["before"].items() if not any(name in series for name in live)}
    assert {series: run["after"].get(series) for series in kept} == pytest.approx(kept)
    assert any("_bucket{" in series for series in kept)


def test_live_gauges_end_with_their_process(run: dict[str, Any]) -> None:
    assert run["after"].get('config_server_streams_open{transport="sse"}', 0) == 0
    assert run["after"]["config_server_cursor_seq"] == 0


def test_only_the_folded_files_and_those_of_the_living_remain(run: dict[str, Any]) -> None:
    owners = {name.rsplit("_", 1)[1] for name in run["files"] if name.endswith(".db")}
    assert owners == {f"{run['folded']}.db", f"{run['own']}.db"}


def write(directory: Path, name: str, value: float, timestamp: float = 0.0) -> None:
    file = MmapedDict(str(directory / name))  # type: ignore[no-untyped-call] # prometheus_client annotates in part
    key = json.dumps(["jobs", "jobs_total" if name.startswith("counter") else "jobs", {}, "help"])
    file.write_value(key, value, timestamp)  # type: ignore[no-untyped-call]
    file.close()  # type: ignore[no-untyped-call]


def total(directory: Path) -> float:
    with collecting(directory) as registry:
        return sum(sample.value for family in registry.collect() for sample in family.samples)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("counter", [(1, 0), (2, 0), (4, 0)], 7),
        ("gauge_max", [(5, 0), (9, 0), (2, 0)], 9),
        ("gauge_min", [(5, 0), (1, 0), (2, 0)], 1),
        ("gauge_sum", [(5, 0), (1, 0), (2, 0)], 8),
        ("gauge_mostrecent", [(5, 100.0), (1, 300.0), (2, 200.0)], 1),
        ("gauge_livesum", [(5, 0), (1, 0), (2, 0)], 0),
    ],
)
def test_each_kind_is_folded_as_it_is_scraped(
    tmp_path: Path, kind: str, values: list[tuple[float, float]], expected: float
) -> None:
    for pid, (value, timestamp) in enumerate(values, start=1000):
        write(tmp_path, f"{kind}_{pid}.db", value, timestamp)
    for pid in range(1000, 1003):
        fold_dead(tmp_path, pid)
    assert total(tmp_path) == expected


def test_folding_a_process_twice_or_one_that_counted_nothing_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, "counter_1000.db", 3)
    for pid in (1000, 1000, 4711):
        fold_dead(tmp_path, pid)
    assert total(tmp_path) == 3


@pytest.mark.parametrize("content", [b"", b"\xff" * 64], ids=["empty", "garbage"])
def test_a_file_broken_by_the_death_of_its_process_is_removed(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "counter_1000.db", 3)
    fold_dead(tmp_path, 1000)
    (tmp_path / "counter_1001.db").write_bytes(content)
    fold_dead(tmp_path, 1001)
    assert total(tmp_path) == 3
    assert not (tmp_path / "counter_1001.db").exists()


def test_a_scrape_during_folds_never_misses_or_doubles_a_count(tmp_path: Path) -> None:
    for pid in range(1000, 1060):
        write(tmp_path, f"counter_{pid}.db", 1)
    seen: set[float] = set()
    done = threading.Event()

    def scrape() -> None:
        while not done.is_set():
            seen.add(total(tmp_path))

    reader = threading.Thread(target=scrape)
    reader.start()
    folder = multiprocessing.get_context("spawn").Process(target=_fold_all, args=(tmp_path,))
    folder.start()
    folder.join(100)
    done.set()
    reader.join()
    assert folder.exitcode == 0
    assert seen == {60.0}


def _fold_all(directory: Path) -> None:
    for pid in range(1000, 1060):
        fold_dead(directory, pid)
