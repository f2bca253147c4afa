"""A chain over several files: closed when full, continued after a crash, and proven as one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.audit import AuditTrail, verify_directory
from tests.audit.support import Clock, event, records

#: Three records or so.
SMALL = 1200


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def write(directory: Path, count: int, *, chain: str = "worker-0", file_bytes: int = SMALL, start: int = 0) -> None:
    """A process of its own, as far as the files tell."""
    trail = AuditTrail(directory, chain=chain, clock=Clock(), file_bytes=file_bytes)
    trail.start()
    for number in range(start, start + count):
        trail.record(event(subject=f"s-{number}"), durable=True)
    trail.close()


def whole(directory: Path) -> bool:
    return all(verdict.intact for verdict in verify_directory(directory).values())


def subjects(directory: Path) -> list[str]:
    files = [*sorted(directory.glob("worker-0.to-*.jsonl")), directory / "worker-0.jsonl"]
    return [record["subject"] for file in files for record in records(file)]


def test_a_full_file_is_closed_and_the_chain_goes_on_in_the_next(directory: Path) -> None:
    write(directory, 20)

    closed = sorted(directory.glob("worker-0.to-*.jsonl"))
    assert len(closed) >= 5
    assert all(path.stat().st_size < SMALL + 1000 for path in closed)
    assert subjects(directory) == [f"s-{number}" for number in range(20)]
    assert [int(path.name.split(".to-")[1].split(".")[0]) for path in closed] == [
        records(path)[-1]["seq"] for path in closed
    ]
    assert whole(directory)
    assert not list(directory.glob("*.next"))


def test_the_next_process_continues_after_the_closed_files(directory: Path) -> None:
    write(directory, 7)
    write(directory, 7, start=7)
    assert subjects(directory) == [f"s-{number}" for number in range(14)]
    assert whole(directory)


def test_a_crash_just_after_a_file_was_closed_loses_nothing(directory: Path) -> None:
    write(directory, 9)
    (directory / "worker-0.jsonl").write_bytes(b"")  # the new file was there, its first record was not
    left = subjects(directory)

    write(directory, 2, start=100)

    assert subjects(directory) == [*left, "s-100", "s-101"]
    assert whole(directory)


def test_a_crash_while_a_file_is_being_closed_is_undone(directory: Path) -> None:
    write(directory, 3, file_bytes=1 << 20)
    current = directory / "worker-0.jsonl"
    (directory / "worker-0.to-000000000003.jsonl").hardlink_to(current)
    (directory / "worker-0.next").write_bytes(b"")
    assert whole(directory)

    write(directory, 2, start=3, file_bytes=1 << 20)

    assert sorted(path.name for path in directory.glob("*.jsonl")) == ["worker-0.jsonl"]
    assert subjects(directory) == [f"s-{number}" for number in range(5)]
    assert whole(directory)


def test_no_other_process_comes_in_while_files_change(directory: Path) -> None:
    first = AuditTrail(directory, chain="worker-0", clock=Clock(), file_bytes=SMALL)
    first.start()
    for _ in range(10):
        first.record(event(subject="first"), durable=True)
    second = AuditTrail(directory, chain="worker-0", clock=Clock(), file_bytes=SMALL)
    second.start()
    for number in range(20):
        (first, second)[number % 2].record(event(subject=("first", "second")[number % 2]), durable=True)
    assert second.path == directory / "worker-0.2.jsonl"
    first.close()
    second.close()

    assert {record["subject"] for path in directory.glob("worker-0.2*") for record in records(path)} == {"second"}
    assert set(subjects(directory)) == {"first"}
    assert whole(directory)


def test_where_a_file_cannot_be_closed_it_grows(directory: Path) -> None:
    write(directory, 3, file_bytes=1 << 20)
    (directory / "worker-0.next").mkdir()

    write(directory, 5, start=3, file_bytes=SMALL)

    assert subjects(directory) == [f"s-{number}" for number in range(8)]
    assert not list(directory.glob("*.to-*"))
    (directory / "worker-0.next").rmdir()
    assert whole(directory)


def edit(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    record = json.loads(lines[0]) | {"subject": "nobody"}
    path.write_bytes(b"".join([json.dumps(record, separators=(",", ":")).encode() + b"\n", *lines[1:]]))


def cut(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def swap(path: Path) -> None:
    """Two lines of the file in the other order."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))


@pytest.mark.parametrize("tamper", [edit, cut, swap, Path.unlink], ids=lambda each: each.__name__)
@pytest.mark.parametrize("which", [0, 2])
def test_tampering_with_a_closed_file_is_found(directory: Path, tamper: Callable[[Path], None], which: int) -> None:
    write(directory, 20)
    tamper(sorted(directory.glob("worker-0.to-*.jsonl"))[which])
    assert not whole(directory)


def test_lines_that_changed_files_are_found(directory: Path) -> None:
    write(directory, 20)
    first, second = sorted(directory.glob("worker-0.to-*.jsonl"))[:2]
    lines = second.read_bytes().splitlines(keepends=True)
    second.write_bytes(b"".join(lines[1:]))
    with first.open("ab") as file:
        file.write(lines[0])
    assert whole(directory)  # the same chain in the same order, however it is cut into files
    second.write_bytes(b"".join(lines))
    assert not whole(directory)  # a line twice


def test_a_chain_whose_oldest_files_were_moved_elsewhere_is_proven_from_where_it_begins(
    directory: Path, tmp_path: Path
) -> None:
    write(directory, 20)
    oldest, second = sorted(directory.glob("worker-0.to-*.jsonl"))[:2]
    shutil.move(oldest, tmp_path / oldest.name)

    assert not whole(directory)
    assert all(verdict.intact for verdict in verify_directory(directory, archived=True).values())
    edit(second)
    assert not all(verdict.intact for verdict in verify_directory(directory, archived=True).values())


def test_a_damaged_end_is_kept_and_the_chain_goes_on_from_the_file_before(directory: Path) -> None:
    write(directory, 8)
    current = directory / "worker-0.jsonl"
    assert records(current)
    lines = current.read_bytes().splitlines(keepends=True)
    current.write_bytes(b"".join([*lines[:-1], lines[-1].replace(b"s-7", b"s-X")]))

    write(directory, 2, start=50)

    verdicts = verify_directory(directory)
    broken = [name for name, verdict in verdicts.items() if not verdict.intact]
    assert len(broken) == 1
    assert broken[0].startswith("worker-0.damaged-")
    assert subjects(directory)[-2:] == ["s-50", "s-51"]
