"""The thread that follows: at once, when woken, when the file moved, and by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from app.follower import Follower
from app.notify import HeadsFile, HostState
from tests.notify.values import cursor
from tests.support import eventually

Make = Callable[..., Follower]


class Look:
    """Counts; raises what it is given first; `held` keeps it from ending."""

    def __init__(self, *faults: Exception) -> None:
        self._faults = list(faults)
        self.count = 0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self) -> bool:
        self.count += 1
        self.gate.wait()
        if self._faults:
            raise self._faults.pop(0)
        return True


@pytest.fixture
def make() -> Iterator[Make]:
    with ExitStack() as stack:

        def made(follow: Callable[[], bool], **more: Any) -> Follower:
            options: dict[str, Any] = {"changed": lambda: False, "look": 0.01, "check": lambda: 60.0}
            follower = Follower(follow, **{**options, **more})
            stack.callback(follower.close)
            return follower

        yield made


def test_it_has_looked_once_when_start_returns(make: Make) -> None:
    look = Look()
    make(look).start()
    assert look.count == 1


def test_it_looks_when_it_is_woken(make: Make) -> None:
    look = Look()
    follower = make(look, look=60)
    follower.start()
    follower.wake()
    eventually(lambda: look.count == 2)


def test_it_looks_by_itself_now_and_then(make: Make) -> None:
    look = Look()
    started = time.monotonic()
    make(look, check=lambda: 0.1).start()
    eventually(lambda: look.count >= 3)
    assert time.monotonic() - started >= 0.2


def test_it_looks_when_the_file_was_replaced_and_once_for_each_time(make: Make, tmp_path: Path) -> None:
    reader, writer = HeadsFile(tmp_path / "heads.json"), HeadsFile(tmp_path / "heads.json")
    seen: list[HostState | None] = []

    def follow() -> bool:
        seen.append(reader.read())
        return True

    make(follow, changed=reader.changed).start()
    for number in range(1, 4):
        writer.write(HostState(cursor(number)))
        eventually(lambda number=number: seen[-1] == HostState(cursor(number)))  # type: ignore[misc]  # bound now
    assert len(seen) == 4


def test_no_word_is_lost_whenever_it_comes(make: Make) -> None:
    """The state is always looked at after it was changed and the follower woken; its looks are as short as can be."""
    state, seen = [0], [0]

    def follow() -> bool:
        seen[0] = state[0]
        return True

    follower = make(follow, look=0.0001)
    follower.start()
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        state[0] += 1
        follower.wake()
        eventually(lambda: seen[0] == state[0], every=0.0001)


def test_a_word_during_a_look_brings_another(make: Make) -> None:
    look = Look()
    follower = make(look, look=60)
    follower.start()
    look.gate.clear()
    follower.wake()
    eventually(lambda: look.count == 2)
    follower.wake()
    look.gate.set()
    eventually(lambda: look.count == 3)


def test_a_look_that_fails_is_logged_and_the_next_one_comes(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    look = Look(OSError("unforeseen"), KeyError("unforeseen"))
    follower = make(look)
    follower.start()
    for count in (2, 3):
        follower.wake()
        eventually(lambda count=count: look.count == count)  # type: ignore[misc]  # bound now
    assert [record.message for record in caplog.records] == ["follower.failed"] * 2


def test_a_question_that_fails_does_not_end_the_thread(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    look, asked = Look(), list[int]()

    def changed() -> bool:
        asked.append(1)
        if len(asked) == 1:
            raise PermissionError("the file cannot be looked at")
        return len(asked) == 2

    make(look, changed=changed).start()
    eventually(lambda: look.count == 2)
    assert [record.message for record in caplog.records] == ["follower.failed"]


def test_closing_is_prompt_and_nothing_follows(make: Make) -> None:
    look = Look()
    follower = make(look, look=60)
    follower.start()
    started = time.monotonic()
    follower.close()
    follower.wake()
    follower.close()
    assert time.monotonic() - started < 10
    assert look.count == 1


def test_what_was_never_started_can_be_closed(make: Make) -> None:
    make(Look()).close()
