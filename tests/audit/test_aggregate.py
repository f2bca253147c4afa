"""Counting per minute what would flood the trail, and losing nothing of it."""

from __future__ import annotations

import threading
from pathlib import Path

from app.audit import AuditAggregate, AuditEvent, AuditTrail, Outcome
from app.audit.aggregate import EVERYONE_ELSE
from tests.audit.support import Clock, event, records
from tests.support import eventually


def read(subject: str = "pay", target: str = "pay/prod/main", request_id: str = "r") -> AuditEvent:
    return event("config.read", subject=subject, issuer="i", target=target, request_id=request_id)


def denial(address: str, subject: str | None = None, request_id: str = "r") -> AuditEvent:
    return event("config.read", outcome=Outcome.DENIED, address=address, subject=subject, request_id=request_id)


def test_reads_of_a_minute_are_one_record_with_their_count() -> None:
    out: list[AuditEvent] = []
    clock = Clock(120.0)
    aggregate = AuditAggregate(out.append, clock)
    for number in range(100):
        aggregate.read(read(request_id=f"r-{number}"), "etag-1")
    aggregate.flush_due(179.9)
    assert out == []
    aggregate.flush_due(180.0)
    assert [(e.subject, e.target, e.count, e.request_id) for e in out] == [("pay", "pay/prod/main", 100, "r-0")]


def test_another_principal_topic_or_etag_is_another_record() -> None:
    out: list[AuditEvent] = []
    aggregate = AuditAggregate(out.append, Clock())
    aggregate.read(read(), "etag-1")
    aggregate.read(read(subject="shop"), "etag-1")
    aggregate.read(read(target="pay/dev/main"), "etag-1")
    aggregate.read(read(), "etag-2")
    aggregate.read(read(), "etag-2")
    aggregate.close()
    assert [e.count for e in out] == [1, 1, 1, 2]


def test_a_late_flush_does_not_join_two_minutes() -> None:
    out: list[AuditEvent] = []
    clock = Clock(0.0)
    aggregate = AuditAggregate(out.append, clock)
    aggregate.read(read(), "e")
    clock.now = 61.0
    aggregate.read(read(), "e")
    aggregate.read(read(), "e")
    aggregate.flush_due(61.0)
    assert [e.count for e in out] == [1]
    aggregate.close()
    assert [e.count for e in out] == [1, 2]


def test_too_many_reads_are_emitted_early_and_none_is_lost() -> None:
    out: list[AuditEvent] = []
    aggregate = AuditAggregate(out.append, Clock(), max_reads=10)
    for number in range(95):
        aggregate.read(read(subject=f"s-{number}"), "e")
    assert len(out) == 90
    aggregate.close()
    assert {e.subject for e in out} == {f"s-{number}" for number in range(95)}


def test_every_denial_of_a_known_subject_is_a_record_at_once() -> None:
    out: list[AuditEvent] = []
    aggregate = AuditAggregate(out.append, Clock())
    for number in range(3):
        aggregate.denied(denial("10.0.0.1", subject="eve", request_id=f"r-{number}"))
    assert [(e.subject, e.request_id, e.count) for e in out] == [("eve", f"r-{n}", 1) for n in range(3)]


def test_denials_without_a_subject_are_counted_by_address() -> None:
    out: list[AuditEvent] = []
    aggregate = AuditAggregate(out.append, Clock())
    for _ in range(1000):
        aggregate.denied(denial("10.0.0.1"))
    aggregate.denied(denial("10.0.0.2"))
    assert out == []
    aggregate.close()
    assert [(e.address, e.outcome, e.count) for e in out] == [
        ("10.0.0.1", Outcome.DENIED, 1000),
        ("10.0.0.2", Outcome.DENIED, 1),
    ]


def test_a_flood_of_addresses_shares_one_record() -> None:
    out: list[AuditEvent] = []
    aggregate = AuditAggregate(out.append, Clock(), max_addresses=10)
    for number in range(5000):
        aggregate.denied(denial(f"2001:db8::{number:x}"))
    aggregate.close()
    assert len(out) == 11
    rest = next(e for e in out if e.address == EVERYONE_ELSE)
    assert (rest.count, rest.request_id) == (4990, None)


def test_no_count_is_lost_between_threads_and_flushes() -> None:
    out: list[AuditEvent] = []
    clock = Clock(0.0)
    aggregate = AuditAggregate(out.append, clock, max_reads=5)

    def work(number: int) -> None:
        for step in range(500):
            clock.now += 0.1
            aggregate.read(read(subject=f"s-{step % 7}"), f"e-{number % 2}")
            if step % 50 == 0:
                aggregate.flush_due(clock.now)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    aggregate.close()
    assert sum(e.count for e in out) == 4000


def test_a_started_aggregate_fills_the_trail_by_itself(tmp_path: Path) -> None:
    clock = Clock(0.0)
    trail = AuditTrail(tmp_path, chain="worker-0", clock=clock)
    aggregate = AuditAggregate(trail.record, clock, seconds=0.3)
    trail.start()
    aggregate.start()
    path = trail.path
    assert path is not None
    aggregate.read(read(), "e")
    aggregate.read(read(), "e")
    clock.now = 1.0
    eventually(lambda: [record["count"] for record in records(path)] == [2])
    aggregate.denied(denial("10.0.0.1"))
    aggregate.close()
    trail.close()
    assert [record["outcome"] for record in records(path)] == ["allowed", "denied"]
