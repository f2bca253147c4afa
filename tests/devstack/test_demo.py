"""`make run` as a newcomer meets it: what it prints works, and nothing is left when it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from devstack.server import ROOT
from tests.support import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

UP = "Ctrl-C stops everything."


class Demo:
    """A demo in a directory of its own, with its output in a file beside."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory.resolve()
        self._output = directory.with_suffix(".out")
        command = [sys.executable, "-m", "devstack.demo", "--directory", str(directory), "--port", "0", *options]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)

    @property
    def said(self) -> str:
        return self._output.read_text()

    def children(self) -> list[int]:
        """Living processes that it started, directly or not."""
        return [each.pid for each in psutil.process_iter() if belongs(each, str(self.directory))]

    def parts(self) -> set[int]:
        """Those that stay: the server has Git do something now and then."""
        return {pid for pid in self.children() if not _name(pid).startswith("git")}

    def wait_until_up(self) -> None:
        assert eventually(lambda: UP in self.said or self.process.poll() is not None, timeout=60)
        assert UP in self.said, self.said


def belongs(process: psutil.Process, directory: str) -> bool:
    """Whether it lives there or was told of it: Valkey overwrites its environment, gunicorn lives elsewhere."""
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and (process.cwd().startswith(directory) or directory in " ".join(process.environ().values()))
    except psutil.Error:
        return False


def _name(pid: int) -> str:
    """Of one that has ended meanwhile, Git's."""
    try:
        return str(psutil.Process(pid).name())
    except psutil.NoSuchProcess:
        return "git"


@contextmanager
def started(directory: Path, *options: str) -> Iterator[Demo]:
    demo = Demo(directory, *options)
    try:
        yield demo
    finally:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.process.wait()
        for left in demo.children():
            with suppress(psutil.NoSuchProcess):
                psutil.Process(left).kill()


def test_every_printed_command_works_and_a_commit_arrives_on_both_workers_within_a_second(tmp_path: Path) -> None:
    with started(tmp_path / "run", "--check") as demo:
        code = demo.process.wait(200)
        assert code == 0, demo.said
        assert "FAILED" not in demo.said
        for kind in ("WebSocket", "ServerSentEvents", "LongPoll"):
            assert demo.said.count(f"{kind} on worker") == 2, demo.said
        assert demo.children() == []


def assert_ends_in_order(demo: Demo, by: signal.Signals) -> None:
    demo.process.send_signal(by)
    demo.process.send_signal(by)  # as an impatient hand would
    assert demo.process.wait(60) == 0, demo.said
    assert demo.said.strip().endswith("Everything is stopped.")
    assert demo.children() == []


def test_a_signal_ends_everything_in_order(tmp_path: Path) -> None:
    with started(tmp_path / "run") as demo:
        demo.wait_until_up()
        assert len(demo.children()) >= 5
        assert_ends_in_order(demo, signal.SIGTERM)


def test_interrupted_while_it_starts_it_leaves_nothing(tmp_path: Path) -> None:
    with started(tmp_path / "run") as demo:
        eventually(lambda: "Valkey" in demo.said, timeout=60)
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait(60) == 0, demo.said
        assert demo.children() == []


def test_what_a_killed_demo_left_is_ended_by_the_next_and_a_kept_repository_stays(tmp_path: Path) -> None:
    with started(tmp_path / "run") as killed:
        killed.wait_until_up()
        killed.process.kill()
        killed.process.wait()
        left = killed.children()
        assert len(left) >= 5  # Valkey, OpenBao, gunicorn and two workers
        note = killed.directory / "git" / "work" / "note"
        note.write_text("mine")
        with started(tmp_path / "run", "--keep") as demo:
            demo.wait_until_up()
            assert "Ended " in demo.said
            assert not set(left) & set(demo.children())
            assert note.read_text() == "mine"
            assert_ends_in_order(demo, signal.SIGHUP)  # a terminal that is closed


def test_a_second_demo_in_the_same_place_says_so_and_disturbs_nothing(tmp_path: Path) -> None:
    with started(tmp_path / "run") as first:
        first.wait_until_up()
        before = first.parts()
        second = subprocess.run(
            [sys.executable, "-m", "devstack.demo", "--directory", str(first.directory)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 1
        assert "is running in" in second.stdout
        assert before == first.parts()
        assert_ends_in_order(first, signal.SIGINT)  # Ctrl-C
