"""heads.json and the hint: files that several processes of a host read and replace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.notify import Cursor, Fetched, HeadsFile, Hints, HostState, Rev
from tests.notify.values import EPOCH, cursor, head
from tests.support import eventually

ROOT = Path(__file__).resolve().parents[2]

#: Replaces the file as fast as it can until it is told to end; each state holds as many labels as its hint says.
WRITER = """
import sys
from pathlib import Path
from app.notify import HeadsFile, HostState
from tests.notify.values import cursor, head
file, number = HeadsFile(Path(sys.argv[1])), 0
print("ready", flush=True)
while True:
    number += 1
    labels = {f"label-{n}": head(n) for n in range(1, 1 + number % 50)}
    file.write(HostState(cursor(number, labels=labels), None, None, number))
"""

#: States that each reader must have seen come.
ENOUGH = 6
#: Tries to write more than the disk takes.
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from app.notify import HeadsFile, Hints, HostState
from tests.notify.values import cursor, head
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
try:
    HeadsFile(Path(sys.argv[1])).write(HostState(cursor(labels={f"label-{n}": head(n) for n in range(100)})))
except OSError as exc:
    print(exc.strerror)
"""


def state(number: int = 1) -> HostState:
    return HostState(cursor(number), "2025-01-02T03:04:05.678Z", Rev(EPOCH, number), number)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "heads.json"


def test_there_is_nothing_at_first(path: Path) -> None:
    file = HeadsFile(path)
    assert file.read() is None
    assert not file.changed()


def test_what_is_written_is_read_by_others_and_nothing_else_is_left(path: Path) -> None:
    reader = HeadsFile(path)
    HeadsFile(path).write(state())
    assert reader.changed()
    assert reader.read() == state()
    assert not reader.changed()
    assert os.listdir(path.parent) == ["heads.json"]


def test_a_host_that_has_seen_nothing_shared_is_read_back(path: Path) -> None:
    HeadsFile(path).write(HostState(cursor()))
    assert HeadsFile(path).read() == HostState(cursor(), None, None, 0)


def test_what_a_later_version_says_beside_of_a_further_repository_is_left_alone(path: Path) -> None:
    state = HostState(cursor(1), further={"pay": Fetched("2026-01-01T00:00:00Z", 7, {"main": "a" * 40})})
    HeadsFile(path).write(state)
    assert HeadsFile(path).read() == state
    data = json.loads(path.read_text())
    data["further"]["pay"]["later"] = 1
    path.write_text(json.dumps(data))
    assert HeadsFile(path).read() == state


def test_it_is_parsed_once_however_often_it_is_read(path: Path) -> None:
    HeadsFile(path).write(state())
    reader = HeadsFile(path)
    assert reader.read() is reader.read()


def test_the_last_of_many_quick_states_is_the_one_that_is_read(path: Path) -> None:
    writer, reader = HeadsFile(path), HeadsFile(path)
    for number in range(200):
        writer.write(state(number))
        if number % 3 != 1:
            assert reader.read() == state(number)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b"{}",
        b'{"v": 2}',
        json.dumps({"v": 1, "cursor": "{}", "git_failing_since": None, "seen": None, "hint": 0}).encode(),
        json.dumps({"v": 1, "cursor": cursor().dumps(), "git_failing_since": None, "seen": 7, "hint": 0}).encode(),
        json.dumps({"v": 1, "cursor": cursor().dumps(), "git_failing_since": None, "seen": None, "hint": []}).encode(),
        json.dumps({"v": 1, "cursor": cursor().dumps(), "seen": None, "hint": 0}).encode(),
    ],
)
def test_a_damaged_or_unknown_file_counts_as_none_until_it_is_written_anew(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    file = HeadsFile(path)
    assert file.read() is None
    file.write(state())
    assert file.read() == state()


def test_a_file_that_cannot_be_read_counts_as_none(path: Path) -> None:
    path.mkdir()
    assert HeadsFile(path).read() is None
    assert HeadsFile(path / "no" / "such").read() is None
    assert HeadsFile(path.parent / ("x" * 300)).read() is None


def test_readers_see_whole_states_only_while_another_process_replaces_them(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            first = HeadsFile(path)
            eventually(lambda: first.read() is not None)
            with ThreadPoolExecutor(4) as pool:
                seen = list(pool.map(lambda _: _look_for(path, 0.7), range(4)))
        finally:
            writer.kill()
    assert min(len(numbers) for numbers in seen) >= ENOUGH, "the writer was seen at work"


def _look_for(path: Path, seconds: float) -> set[int]:
    """For so long, and on a busy machine until it has seen ENOUGH states."""
    reader, numbers, last = HeadsFile(path), set[int](), 0
    began = time.monotonic()
    while (spent := time.monotonic() - began) < seconds or (len(numbers) < ENOUGH and spent < 60):
        found = reader.read()
        assert found is not None
        assert found.hint == found.cursor.rev.seq >= last
        expected = {f"label-{n}" for n in range(1, 1 + found.hint % 50)} or {"main"}
        assert set(found.cursor.labels) == expected
        numbers.add(found.hint)
        last = found.hint
    return numbers


def test_a_full_disk_leaves_the_old_state_and_no_rubbish(path: Path) -> None:
    HeadsFile(path).write(state())
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "File too large\n"
    assert HeadsFile(path).read() == state()
    assert os.listdir(path.parent) == ["heads.json"]


def test_hints_count_up_for_everybody(tmp_path: Path) -> None:
    mine, yours = Hints(tmp_path / "hint"), Hints(tmp_path / "hint")
    assert mine.last() == 0
    numbers = [(mine if n % 2 else yours).give() for n in range(100)]
    assert numbers == sorted(set(numbers)), "also faster than the clock of the file system ticks"
    assert mine.last() == yours.last() == numbers[-1]


def test_a_clock_that_was_set_back_does_not_set_the_hints_back(tmp_path: Path) -> None:
    hints = Hints(tmp_path / "hint")
    hints.give()
    future = time.time_ns() + 3600 * 10**9
    os.utime(tmp_path / "hint", ns=(future, future))
    assert hints.give() > future


def test_hints_given_at_once_all_differ(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def run(_: int) -> list[int]:
        start.wait()
        return [Hints(tmp_path / "hint").give() for _ in range(25)]

    with ThreadPoolExecutor(8) as pool:
        numbers = [number for each in pool.map(run, range(8)) for number in each]
    assert len(set(numbers)) == 200
    assert Hints(tmp_path / "hint").last() == max(numbers)


def test_a_hint_that_cannot_be_written_is_no_error_and_is_never_taken_for_answered(tmp_path: Path) -> None:
    hints = Hints(tmp_path / "no" / "hint")
    before = hints.last()
    assert hints.give() > before
    assert hints.last() == before


def test_a_cursor_in_the_file_is_the_cursor_that_was_written(path: Path) -> None:
    whole = Cursor(Rev(EPOCH, 3), "main", {"main": head(1), "grüße": head(None)}, {})
    HeadsFile(path).write(HostState(whole))
    found = HeadsFile(path).read()
    assert found is not None
    assert found.cursor == whole


def test_a_hint_says_the_highest_rev_that_anybody_has_seen(tmp_path: Path) -> None:
    mine, yours = Hints(tmp_path / "hint"), Hints(tmp_path / "hint")
    assert mine.seen() is None
    mine.give()
    assert mine.seen() is None
    numbers = []
    for told, highest in (
        ("2-0000abcd.7", "2-0000abcd.7"),
        ("1-0000abcd.9", "2-0000abcd.7"),
        ("10-00001234.1", "10-00001234.1"),
    ):
        numbers.append(mine.give(Rev.parse(told)))
        assert str(yours.seen()) == highest
    numbers.append(yours.give())
    assert numbers == sorted(set(numbers))
    assert mine.last() == numbers[-1]
    assert str(mine.seen()) == "10-00001234.1"


def test_a_damaged_hint_says_nothing_and_is_mended_by_the_next(tmp_path: Path) -> None:
    hints = Hints(tmp_path / "hint")
    (tmp_path / "hint").write_bytes(b"\xff not a rev")
    assert hints.seen() is None
    hints.give(Rev("1-0000abcd", 3))
    assert hints.seen() == Rev("1-0000abcd", 3)
