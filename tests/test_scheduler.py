"""The thread that pulls: when it ticks, what wakes it, and who takes over when it is gone."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from app.notify import Hints
from app.repository import MirrorLock
from app.scheduler import CLOSE_SECONDS, RACES, Beside, Outcome, Scheduler
from tests.support import eventually

ROOT = Path(__file__).resolve().parents[1]

#: Another worker of the host: pulls as soon as it may, and says so.
WORKER = """
import sys, time
from pathlib import Path
from app.notify import Hints
from app.repository import MirrorLock
from app.scheduler import Outcome, Scheduler

directory = Path(sys.argv[1])

def tick():
    print("tick", flush=True)
    return Outcome.UNCHANGED

lock = MirrorLock(directory / "lock", directory=directory / "mirror")
Scheduler(tick, lock, hinted=Hints(directory / "hint").last, interval=0.05, look=0.01, retry_first=1, hint_retries=(),
          confirm_after=1, lock_retry=0.02, on_takeover=lock.clean_up_after_former_holder).start()
time.sleep(600)
"""


class Work:
    """A tick that counts, and ends as it is told."""

    def __init__(self, *outcomes: Outcome | Exception) -> None:
        self._outcomes = list(outcomes)
        self.at: list[float] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self) -> Outcome:
        self.at.append(time.monotonic())
        self.gate.wait()
        outcome = self._outcomes.pop(0) if self._outcomes else Outcome.UNCHANGED
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def count(self) -> int:
        return len(self.at)


class OwnLock:
    """A lock of one process alone. `faults` are what its next calls raise, by the name of the method."""

    def __init__(self, **faults: OSError) -> None:
        self.faults = faults
        self.held = False
        self.beats = 0
        self.taken = 0

    def acquire(self) -> bool:
        self._fail("acquire")
        self.taken += not self.held
        self.held = True
        return True

    def release(self) -> None:
        self.held = False

    def heartbeat(self) -> None:
        self.beats += 1
        self._fail("heartbeat")

    def _fail(self, name: str) -> None:
        fault = self.faults.pop(name, None)
        if fault:
            raise fault


Make = Callable[..., Scheduler]


@pytest.fixture
def make() -> Iterator[Make]:
    """Schedulers that are closed at the end. Their ordinary interval is longer than any test."""
    with ExitStack() as stack:

        def made(tick: Callable[[], Outcome], lock: Any = None, **more: Any) -> Scheduler:
            options: dict[str, Any] = {
                "hinted": lambda: 0,
                "interval": 30.0,
                "look": 0.01,
                "retry_first": 1.0,
                "hint_retries": (),
                "confirm_after": 2.0,
                "lock_retry": 0.02,
            }
            scheduler = Scheduler(tick, lock or OwnLock(), **{**options, **more})
            stack.callback(scheduler.close)
            return scheduler

        yield made


@pytest.mark.parametrize(
    ("outcomes", "low", "high"),
    [
        ([Outcome.MOVED], 27, 33),
        ([Outcome.UNCHANGED], 27, 33),
        ([Outcome.SUSPECT], 0.5, 0.5),
        ([Outcome.SUSPECT, Outcome.SUSPECT], 0.5, 0.5),
        ([Outcome.FAILED], 0.5, 1),
        ([Outcome.FAILED] * 2, 1, 2),
        ([Outcome.FAILED] * 5, 8, 16),
        ([Outcome.FAILED] * 6, 15, 30),
        ([Outcome.FAILED] * 5000, 15, 30),
        ([Outcome.FAILED, Outcome.UNCHANGED, Outcome.FAILED], 0.5, 1),
        ([Outcome.FAILED, Outcome.MOVED], 27, 33),
        ([Outcome.AGAIN], 0, 0),
        ([Outcome.AGAIN] * RACES, 0, 0),
        ([Outcome.AGAIN] * (RACES + 1), 4, 8),
        ([Outcome.AGAIN] * 5000, 15, 30),
        ([Outcome.AGAIN] * 5000 + [Outcome.MOVED, Outcome.AGAIN], 0, 0),
    ],
)
def test_how_a_tick_ended_decides_when_the_next_one_comes(
    make: Make, outcomes: list[Outcome], low: float, high: float
) -> None:
    for _ in range(20 if len(outcomes) < 10 else 2):
        scheduler = make(Work())
        delay = [scheduler.delay_after(outcome) for outcome in outcomes][-1]
        assert low <= delay <= high


def test_the_pauses_of_hosts_that_fail_together_differ(make: Make) -> None:
    assert len({make(Work()).delay_after(Outcome.FAILED) for _ in range(10)}) > 5


def test_a_suspect_is_looked_at_no_later_than_everything_else(make: Make) -> None:
    assert make(Work(), interval=0.2).delay_after(Outcome.SUSPECT) == 0.2


def test_after_a_hint_that_brought_nothing_the_retries_are_tried_and_then_the_interval(make: Make) -> None:
    work = Work()
    scheduler = make(work, hint_retries=(0.05, 0.1, 0.15))
    scheduler.start()
    eventually(lambda: work.count == 1)
    scheduler.wake()
    eventually(lambda: work.count == 5)
    gaps = [after - before for before, after in zip(work.at[1:], work.at[2:], strict=False)]
    assert all(gap >= pause for gap, pause in zip(gaps, (0.05, 0.1, 0.15), strict=True))
    assert not _more_within(work, 0.4)


def test_a_move_ends_the_retries(make: Make) -> None:
    work = Work(Outcome.UNCHANGED, Outcome.UNCHANGED, Outcome.MOVED)
    scheduler = make(work, hint_retries=(0.05, 0.05, 0.05, 0.05))
    scheduler.start()
    eventually(lambda: work.count == 1)
    scheduler.wake()
    eventually(lambda: work.count == 3)
    assert not _more_within(work, 0.3)


def test_a_hint_of_another_process_is_found_by_looking(make: Make, tmp_path: Path) -> None:
    work, hints = Work(), Hints(tmp_path / "hint")
    hints.give()  # the file is there: who looks while it is made sees two words
    make(work, hinted=hints.last).start()
    eventually(lambda: work.count == 1)
    hints.give()
    eventually(lambda: work.count == 2)
    assert not _more_within(work, 0.2)


def test_a_word_during_a_tick_is_not_lost(make: Make) -> None:
    work = Work()
    work.gate.clear()
    scheduler = make(work)
    scheduler.start()
    eventually(lambda: work.count == 1)
    scheduler.wake()
    work.gate.set()
    eventually(lambda: work.count == 2)


def test_a_hint_during_a_tick_is_not_lost(make: Make, tmp_path: Path) -> None:
    work, hints = Work(), Hints(tmp_path / "hint")
    work.gate.clear()
    make(work, hinted=hints.last).start()
    eventually(lambda: work.count == 1)
    hints.give()
    work.gate.set()
    eventually(lambda: work.count == 2)


def test_a_tick_that_raises_counts_as_failed_and_the_next_one_comes(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work(RuntimeError("unforeseen"), Outcome.UNCHANGED)
    make(work, retry_first=0.05).start()
    eventually(lambda: work.count == 2)
    assert [record.message for record in caplog.records] == ["scheduler.tick_failed"]
    assert not _more_within(work, 0.2)


def test_every_tick_is_told_of_and_beats(make: Make) -> None:
    told: list[int] = []
    work, lock = Work(Outcome.AGAIN, Outcome.AGAIN), OwnLock()
    make(work, lock, on_tick=lambda: told.append(work.count)).start()
    eventually(lambda: told == [1, 2, 3])
    assert lock.beats == 3


@pytest.mark.parametrize("method", ["acquire", "heartbeat"])
def test_a_full_disk_under_the_lock_does_not_end_the_thread(
    make: Make, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    lock, work = OwnLock(**{method: OSError(errno.ENOSPC, "No space left on device")}), Work()
    scheduler = make(work, lock)
    scheduler.start()
    eventually(lambda: work.count == 1)
    assert scheduler.is_puller
    assert len(caplog.records) == 1


def test_a_take_over_that_fails_gives_the_lock_back_and_is_tried_again(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    lock, work = OwnLock(), Work()

    def on_takeover() -> None:
        assert lock.held
        if lock.taken < 3:
            raise OSError(errno.EACCES, "Permission denied")

    make(work, lock, on_takeover=on_takeover).start()
    eventually(lambda: work.count == 1)
    assert lock.taken == 3
    assert {record.message for record in caplog.records} == {"scheduler.failed"}


def test_only_who_has_the_lock_ticks_and_closing_gives_it_to_the_next(make: Make, tmp_path: Path) -> None:
    first_work, second_work = Work(), Work()
    first, second = make(first_work, _mirror_lock(tmp_path)), make(second_work, _mirror_lock(tmp_path))
    first.start()
    eventually(lambda: first_work.count == 1)
    second.start()
    second.wake()
    assert not _more_within(second_work, 0.2)
    assert (first.is_puller, second.is_puller) == (True, False)
    first.close()
    eventually(lambda: second_work.count >= 1)
    assert (first.is_puller, second.is_puller) == (False, True)
    assert first_work.count == 1


def test_another_process_takes_over_when_the_holder_is_killed(make: Make, tmp_path: Path) -> None:
    work, takeovers = Work(), list[int]()
    lock = _mirror_lock(tmp_path)

    def on_takeover() -> None:
        lock.clean_up_after_former_holder()
        takeovers.append(1)

    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "tick\n"
            make(work, lock, on_takeover=on_takeover).start()
            assert not _more_within(work, 0.2)
            beat = eventually(lock.last_heartbeat)  # None while it is being written
            assert beat is not None
            assert beat[0] == holder.pid
            os.kill(holder.pid, signal.SIGKILL)
            eventually(lambda: work.count == 1)
        finally:
            holder.kill()
    assert takeovers == [1]
    beat = lock.last_heartbeat()
    assert beat is not None
    assert beat[0] == os.getpid()


def test_closing_waits_for_the_tick_under_way_and_no_other_follows(make: Make) -> None:
    work, lock = Work(), OwnLock()
    work.gate.clear()
    scheduler = make(work, lock)
    scheduler.start()
    eventually(lambda: work.count == 1)
    scheduler.wake()
    closer = threading.Thread(target=scheduler.close)
    closer.start()
    closer.join(0.1)
    assert closer.is_alive()
    assert lock.held, "nobody else may pull while we still do"
    work.gate.set()
    closer.join(60)
    assert not closer.is_alive()
    assert work.count == 1
    assert not lock.held


def test_closing_is_prompt_while_it_waits_or_stands_by(make: Make, tmp_path: Path) -> None:
    holder = _mirror_lock(tmp_path)
    assert holder.acquire()
    work = Work()
    idle, standing_by = make(work, interval=600), make(Work(), _mirror_lock(tmp_path), lock_retry=600)
    for scheduler in (idle, standing_by):
        scheduler.start()
    eventually(lambda: work.count == 1)
    started = time.monotonic()
    idle.close()
    standing_by.close()
    idle.close()
    assert time.monotonic() - started < CLOSE_SECONDS  # which each waits for its thread at most
    holder.release()


def test_what_was_never_started_can_be_closed(make: Make) -> None:
    make(Work()).close()


def _mirror_lock(directory: Path) -> MirrorLock:
    return MirrorLock(directory / "lock", directory=directory / "mirror")


def _more_within(work: Work, seconds: float) -> bool:
    """Whether another tick comes in that time, which is one in which it would."""
    before, deadline = work.count, time.monotonic() + seconds
    while time.monotonic() < deadline and work.count == before:
        time.sleep(0.01)  # the pause between two looks
    return work.count != before


class Held:
    """Another lock, which this process has or has not."""

    held = True

    def acquire(self) -> bool:
        return self.held

    def release(self) -> None:
        self.held = False

    def heartbeat(self) -> None:
        pass


def test_who_pulls_beside_another_does_so_only_while_the_other_lock_is_held() -> None:
    other, own = Held(), Held()
    beside = Beside(other, own)
    assert beside.acquire()
    beside.heartbeat()
    other.held = False
    assert not beside.acquire()
    with pytest.raises(RuntimeError, match="another process"):
        beside.heartbeat()
    beside.release()
    other.held = True
    assert not beside.acquire()  # its own is gone by now


@pytest.mark.slow
def test_a_puller_beside_another_rests_until_that_one_has_its_lock_and_when_it_loses_it() -> None:
    other, work = Held(), Work()
    other.held = False
    scheduler = Scheduler(
        work,
        Beside(other, Standing()),
        hinted=lambda: 0,
        interval=0.01,
        look=0.005,
        retry_first=1,
        hint_retries=(),
        confirm_after=1,
        lock_retry=0.01,
    )
    scheduler.start()
    try:
        assert not work.at
        other.held = True
        eventually(lambda: scheduler.is_puller and len(work.at) > 2)
        other.held = False
        eventually(lambda: not scheduler.is_puller)
        count = len(work.at)
        other.held = True
        eventually(lambda: len(work.at) > count)
    finally:
        scheduler.close()


class Standing(Held):
    """One that can be had again after it was given back."""

    def acquire(self) -> bool:
        return True
