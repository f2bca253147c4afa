"""The trail of one worker: durable and written behind, bounded, in one order, continued by the next process."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.audit import AuditTrail, AuditUnavailable, Outcome, verify_directory
from tests.audit.support import Clock, actions, event, proven, records
from tests.support import eventually


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def trail(directory: Path) -> Iterator[AuditTrail]:
    trail = opened(directory)
    yield trail
    trail.close()


def opened(directory: Path, chain: str = "worker-0") -> AuditTrail:
    trail = AuditTrail(directory, chain=chain, clock=Clock())
    trail.start()
    return trail


def chain_path(trail: AuditTrail) -> Path:
    assert trail.path is not None
    return trail.path


def test_a_durable_record_is_in_the_file_when_the_call_returns(trail: AuditTrail) -> None:
    trail.record(
        event(
            "config.rollback",
            request_id="req-1",
            subject="alice",
            issuer="https://issuer",
            target="pay/prod/main",
            version="0" * 40,
            keys=("db.pool", 'hosts["a"]'),
            address="10.0.0.1",
            detail="as of yesterday",
        ),
        durable=True,
    )
    (record,) = records(chain_path(trail))
    digest = record.pop("hash")
    assert len(digest) == 64
    assert record == {
        "schema": 1,
        "time": "2023-11-14T22:13:20.000Z",
        "chain": "worker-0",
        "seq": 1,
        "request_id": "req-1",
        "issuer": "https://issuer",
        "subject": "alice",
        "action": "config.rollback",
        "target": "pay/prod/main",
        "outcome": "allowed",
        "version": "0" * 40,
        "keys": ["db.pool", 'hosts["a"]'],
        "address": "10.0.0.1",
        "detail": "as of yesterday",
        "count": 1,
        "previous": "0" * 64,
    }


def synced(work: Callable[[], None]) -> int:
    """How often this thread asks the kernel for the disk while it does `work`."""
    calls = []

    def look(_frame: object, kind: str, called: object) -> None:
        if kind == "c_call" and called is os.fsync:
            calls.append(called)

    sys.setprofile(look)
    try:
        work()
    finally:
        sys.setprofile(None)
    return len(calls)


def test_a_durable_record_waits_for_the_disk_and_no_other_does(trail: AuditTrail) -> None:
    assert synced(lambda: trail.record(event("config.rollback"), durable=True)) == 1
    assert synced(lambda: trail.record(event("config.read"))) == 0


def test_the_directory_and_the_file_are_for_the_server_only(trail: AuditTrail, directory: Path) -> None:
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(chain_path(trail).stat().st_mode) == 0o600


def test_what_is_written_behind_arrives_without_another_call(trail: AuditTrail) -> None:
    trail.record(event("config.read"))
    eventually(lambda: actions(chain_path(trail)) == ["config.read"])


def test_closing_writes_what_is_waiting(directory: Path) -> None:
    trail = opened(directory)
    path = chain_path(trail)
    for _ in range(3000):
        trail.record(event("config.read"))
    trail.close()
    trail.close()
    assert len(records(path)) == 3000
    assert proven(path).intact


def test_records_of_many_threads_form_one_intact_chain(directory: Path) -> None:
    trail = opened(directory)
    path = chain_path(trail)

    def work(number: int) -> None:
        for step in range(50):
            trail.record(event("mixed", subject=f"s-{number}", detail=str(step)), durable=step % 10 == 0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trail.close()
    written = records(path)
    assert proven(path).records == 400
    assert {(record["subject"], record["detail"]) for record in written} == {
        (f"s-{number}", str(step)) for number in range(8) for step in range(50)
    }


def test_the_next_process_continues_the_chain(directory: Path) -> None:
    for action in ("first", "second", "third"):
        trail = opened(directory)
        path = chain_path(trail)
        trail.record(event(action), durable=True)
        trail.close()
    assert actions(path) == ["first", "second", "third"]
    assert proven(path).records == 3


def test_half_a_line_left_by_a_crash_becomes_a_record(directory: Path) -> None:
    trail = opened(directory)
    path = chain_path(trail)
    trail.record(event("first"), durable=True)
    trail.close()
    with path.open("ab") as file:
        file.write(b'{"schema":1,"time":"2023-11-14T22:13:20.000Z","action":"half')
    trail = opened(directory)
    trail.record(event("after"), durable=True)
    trail.close()
    assert actions(path) == ["first", "audit.torn", "after"]
    torn = records(path)[1]
    assert torn["outcome"] == "failed"
    assert '"action":"half' in torn["detail"]
    assert proven(path).records == 3
    assert [file.name for file in directory.iterdir()] == [path.name]


def test_a_second_crash_while_mending_the_first_loses_nothing(directory: Path) -> None:
    trail = opened(directory)
    path = chain_path(trail)
    trail.record(event("first"), durable=True)
    trail.close()
    path.with_suffix(".torn").write_bytes(b'{"action":"half')  # cut off the chain, not yet recorded
    opened(directory).close()
    assert actions(path) == ["first", "audit.torn"]
    assert '{"action":"half' in records(path)[1]["detail"]
    assert proven(path).intact


def test_a_chain_whose_end_was_edited_is_kept_as_evidence_and_begun_anew(directory: Path) -> None:
    trail = opened(directory)
    path = chain_path(trail)
    trail.record(event("first", subject="mallory"), durable=True)
    trail.close()
    path.write_bytes(path.read_bytes().replace(b"mallory", b"alice"))
    opened(directory).close()
    (damaged,) = records(path)
    assert damaged["action"] == "audit.damaged"
    verdicts = verify_directory(directory)
    assert verdicts.pop(path.name).intact
    ((name, verdict),) = verdicts.items()
    assert name in damaged["detail"]
    assert (verdict.intact, verdict.line) == (False, 1)


def test_a_long_file_is_continued_by_reading_its_end(directory: Path) -> None:
    trail = opened(directory)
    path = chain_path(trail)
    for number in range(400):
        trail.record(event("long", detail=f"{number} " + "x" * 2000))
    trail.close()
    trail = opened(directory)
    trail.record(event("last"), durable=True)
    trail.close()
    assert path.stat().st_size > 800_000
    assert proven(path).records == 401


def test_two_processes_never_write_one_chain(directory: Path) -> None:
    first, second = opened(directory), opened(directory)
    assert {chain_path(first).name, chain_path(second).name} == {"worker-0.jsonl", "worker-0.2.jsonl"}
    first.record(event("first"), durable=True)
    second.record(event("second"), durable=True)
    first.close()
    second.close()
    assert all(verdict.intact and verdict.records == 1 for verdict in verify_directory(directory).values())
    third = opened(directory)
    assert chain_path(third).name == "worker-0.jsonl"
    third.close()


def test_too_many_waiting_records_are_counted_in_a_record_of_their_own(directory: Path) -> None:
    failures: list[int] = []
    trail = AuditTrail(directory, chain="worker-0", clock=Clock(), capacity=10, on_failure=failures.append)
    for number in range(25):  # before the start, so that nothing is taken from the queue meanwhile
        trail.record(event("config.read", detail=str(number)))
    assert not trail.healthy
    trail.start()
    path = chain_path(trail)
    trail.close()
    assert [record["detail"] for record in records(path)[:10]] == [str(number) for number in range(10)]
    assert [(record["action"], record["count"]) for record in records(path)[10:]] == [("audit.dropped", 15)]
    assert len(failures) == 15
    assert trail.healthy


def test_who_counts_is_told_of_what_was_written(directory: Path) -> None:
    written: list[int] = []
    trail = AuditTrail(directory, chain="worker-0", clock=Clock(), on_written=written.append)
    trail.start()
    trail.record(event(), durable=True)
    trail.record(event())
    trail.close()
    assert sum(written) == 2


def test_a_trail_that_cannot_be_opened_says_so_without_a_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(AuditUnavailable) as raised:
        opened(tmp_path / "file" / "audit")
    assert str(tmp_path) not in str(raised.value)


def test_a_durable_record_without_an_open_trail_is_refused(directory: Path) -> None:
    with pytest.raises(AuditUnavailable):
        AuditTrail(directory, chain="worker-0", clock=Clock()).record(event(), durable=True)


def test_names_from_outside_forge_no_line_and_hold_no_secret(trail: AuditTrail) -> None:
    trail.record(
        event(
            "config.read",
            outcome=Outcome.DENIED,
            subject='eve\n{"action":"forged"}',
            target="pay\u202e/dorp\x00/" + "x" * 5000,
            detail="Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwIn0.c2ln \ud800",
            keys=("a\nb",) * 1000,
        ),
        durable=True,
    )
    data = chain_path(trail).read_bytes()
    assert data.count(b"\n") == 1
    assert data.isascii()
    assert b"eyJ" not in data
    assert len(data) < 10_000
    (record,) = records(chain_path(trail))
    assert record["subject"] == 'eve\\u000a{"action":"forged"}'
    assert record["target"].startswith("pay\\u202e/dorp\\u0000/xxx")
    assert record["keys"][-1] == "… 800 more"
    assert proven(chain_path(trail)).intact


def test_a_full_disk_refuses_changes_keeps_the_chain_whole_and_heals(directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.audit.full_disk", str(directory)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["durable_when_full"] == "AuditUnavailable"
    assert answer["healthy_when_full"] is False
    assert answer["intact_when_full"] is True
    assert answer["healthy_after"] is True
    path = directory / "worker-0.jsonl"
    assert proven(path).intact
    kinds = actions(path)
    assert "refused" not in kinds
    assert kinds.count("waiting") + sum(r["count"] for r in records(path) if r["action"] == "audit.dropped") == 50
    assert kinds[-1] == "after"
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()] == ["audit trail cannot be written"]


GREENLETS = """
from gevent import monkey; monkey.patch_all()
import gevent, sys, time
from pathlib import Path
from app.audit import AuditTrail
from tests.audit.support import event, proven, records

trail = AuditTrail(Path(sys.argv[1]), chain="worker-0", clock=time.time)
trail.start()

def work(number):
    for step in range(50):
        trail.record(event(subject=str(number)), durable=step % 10 == 0)
        gevent.sleep(0)

gevent.joinall([gevent.spawn(work, number) for number in range(20)], raise_error=True)
path = trail.path
gevent.with_timeout(60, lambda: [gevent.sleep(0.01) for _ in iter(lambda: len(records(path)) < 1000, False)])
trail.close()
verdict = proven(path)
assert verdict.intact and verdict.records == 1000, verdict
"""


def test_the_trail_works_among_greenlets(directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GREENLETS, str(directory)], capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stderr
