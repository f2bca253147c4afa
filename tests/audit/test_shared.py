"""The trail of the cluster in a real Valkey: what stands in the files, once and in order, whatever happens between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.audit import Anchors, AuditTrail, AuditView, Filter, RedisSharedTrail, Shipper, verify_directory
from app.cache import RedisLink
from app.errors import BadInput, BusUnavailable
from devstack.valkey import Valkey
from tests.audit.support import Clock, event, records
from tests.support import eventually
from tests.valkeys import MakeLink


class Worker:
    """One worker of a host: its chain, and what carries it."""

    def __init__(self, directory: Path, host: str, link: RedisLink, *, chain: str = "worker-0", records: int = 1000):
        self.trail = AuditTrail(directory, chain=chain, clock=Clock(), file_bytes=3000)
        self.trail.start()
        self.shared = RedisSharedTrail(link, lambda: host, records=records)
        anchors = Anchors(lambda told: self.trail.record(told, durable=True), lambda: host)
        self.shipper = Shipper(
            self.shared, directory, lambda: self.trail.end, anchors, seconds=0.05, anchor_seconds=0.1, records=records
        )
        self.view = AuditView(directory, lambda: host, self.shared)

    def write(self, *subjects: str) -> None:
        for subject in subjects:
            self.trail.record(event(subject=subject), durable=True)

    def seen(self) -> list[str]:
        """The subjects in the cluster's trail, newest first."""
        return [record["subject"] for record in self.view.all(Filter(action="config.*"), cluster=True)]

    def close(self) -> None:
        self.shipper.close()
        self.trail.close()


@pytest.fixture
def worker(tmp_path: Path, link: RedisLink) -> Iterator[Worker]:
    made = Worker(tmp_path / "audit", "here", link)
    yield made
    made.close()


def test_records_are_added_once_and_in_order_over_files(worker: Worker) -> None:
    names = [f"s-{number}" for number in range(30)]
    worker.write(*names[:12])
    worker.shipper.ship()
    worker.shipper.ship()
    worker.write(*names[12:])
    worker.shipper.ship()
    assert worker.seen() == names[::-1]
    assert list(worker.trail.path.parent.glob("*.to-*"))  # type: ignore[union-attr]


def test_a_worker_that_comes_back_goes_on_where_it_was(tmp_path: Path, link: RedisLink) -> None:
    for start in (0, 10, 20):
        worker = Worker(tmp_path / "audit", "here", link)
        worker.write(*(f"s-{number}" for number in range(start, start + 10)))
        worker.shipper.ship()
        seen = worker.seen()
        worker.close()
    assert seen == [f"s-{number}" for number in reversed(range(30))]


def test_what_happened_while_redis_was_away_follows(tmp_path: Path, make_link: MakeLink) -> None:
    valkey = Valkey(tmp_path / "valkey").start()
    worker = Worker(tmp_path / "audit", "here", make_link(valkey, pause=0.05))
    try:
        worker.shipper.start()
        worker.write("before")
        eventually(lambda: worker.seen() == ["before"])
        valkey.stop()
        worker.write(*(f"away-{number}" for number in range(300)))
        with pytest.raises(BusUnavailable):
            worker.seen()
        valkey.start()
        wanted = [f"away-{number}" for number in reversed(range(300))]
        eventually(lambda: [name for name in _safely(worker) if name.startswith("away")] == wanted, timeout=60)
    finally:
        worker.close()
        valkey.close()


def _safely(worker: Worker) -> list[str]:
    try:
        return worker.seen()
    except BusUnavailable:
        return []


def test_the_stream_is_bounded_and_begins_again_with_the_newest(tmp_path: Path, link: RedisLink) -> None:
    worker = Worker(tmp_path / "audit", "here", link, records=100)
    worker.write(*(f"s-{number}" for number in range(400)))
    worker.shipper.ship()
    seen = worker.seen()
    worker.close()
    assert seen == [f"s-{number}" for number in reversed(range(300, 400))]


def test_a_record_that_was_taken_back_is_not_carried(worker: Worker) -> None:
    worker.write("stays")
    path = worker.trail.path
    assert path is not None
    line = path.read_bytes()
    with path.open("ab") as file:
        file.write(line.replace(b'"seq":1,', b'"seq":2,'))  # as if the disk had not taken it for good yet
    worker.shipper.ship()
    assert worker.seen() == ["stays"]


def test_workers_of_two_hosts_are_one_view_and_anchor_each_other(tmp_path: Path, link: RedisLink) -> None:
    places = [("here", "worker-0"), ("here", "worker-1"), ("there", "worker-0")]
    workers = [Worker(tmp_path / host, host, link, chain=chain) for host, chain in places]
    for number, worker in enumerate(workers):
        (tmp_path / places[number][0] / "host").write_text(places[number][0])
        worker.write(f"of-{number}")
        worker.shipper.start()
    eventually(lambda: sorted(workers[0].seen()) == ["of-0", "of-1", "of-2"])
    hosts = {record["host"] for record in workers[2].view.all(Filter(), cluster=True)}
    assert hosts == {"here", "there"}
    own = tmp_path / "here" / "worker-0.jsonl"
    eventually(
        lambda: (
            {key.partition("#")[0] for each in records(own) for key in each["keys"]} >= {"worker-1", "there/worker-0"}
        )
    )
    grown = [worker.trail.end for worker in workers]
    for worker in workers:
        worker.close()
    assert all(end is not None and end[1].seq < 10 for end in grown)  # anchors do not answer anchors
    assert all(verdict.intact for verdict in verify_directory(tmp_path / "here", tmp_path / "there").values())
    lines = own.read_bytes().splitlines(keepends=True)
    (tmp_path / "there" / "worker-0.jsonl").write_bytes(b"")
    own.write_bytes(b"".join(lines))
    assert not all(verdict.intact for verdict in verify_directory(tmp_path / "here", tmp_path / "there").values())


@pytest.mark.parametrize("cluster", [True, False])
def test_pages_follow_each_other_without_a_gap_while_records_come(worker: Worker, cluster: bool) -> None:
    worker.write(*(f"s-{number}" for number in range(25)))
    worker.shipper.ship()
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page, cursor = worker.view.page(Filter(), cluster=cluster, cursor=cursor, limit=4)
        seen += [record["subject"] for record in page]
        worker.write("late")
        worker.shipper.ship()
        if cursor is None:
            break
    assert seen == [f"s-{number}" for number in reversed(range(25))]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Filter(subject="s-3"), [3]),
        (Filter(since="2023-11-14T22:13:21.000Z"), [4, 3, 2, 1]),
        (Filter(until="2023-11-14T22:13:22.000Z"), [1, 0]),
        (Filter(target="pay/prod"), [2, 0]),
        (Filter(target="pay"), [4, 2, 0]),
        (Filter(action="config.*", outcome="failed"), [1]),
        (Filter(action="label.*"), []),
        (Filter(request_id="r-2"), [2]),
        (Filter(version="4" * 40), [4]),
    ],
    ids=lambda each: str(each) if isinstance(each, list) else "",
)
@pytest.mark.parametrize("cluster", [True, False])
def test_filters(tmp_path: Path, link: RedisLink, cluster: bool, wanted: Filter, numbers: list[int]) -> None:
    worker = Worker(tmp_path / "audit", "here", link)
    clock = Clock()
    trail = AuditTrail(tmp_path / "audit", chain="worker-0", clock=clock)
    worker.trail.close()
    worker.trail = trail
    trail.start()
    targets = ["pay/prod/main", "payment/prod/main", "pay/prod", None, "pay/dev/main"]
    for number in range(5):
        outcome = "failed" if number == 1 else "allowed"
        told = event(
            subject=f"s-{number}",
            target=targets[number],
            outcome=type(event().outcome)(outcome),
            request_id=f"r-{number}",
            version=str(number) * 40,
        )
        trail.record(told, durable=True)
        clock.now += 1
    worker.shipper.ship()
    found = worker.view.page(wanted, cluster=cluster, cursor=None, limit=100)[0]
    worker.close()
    assert [record["subject"] for record in found] == [f"s-{number}" for number in numbers]


@pytest.mark.parametrize("cluster", [True, False])
@pytest.mark.parametrize("cursor", ["x", "W10", "+", "-", "1-1-1", "e30x", ""])
def test_a_cursor_that_is_none_is_refused(worker: Worker, cluster: bool, cursor: str) -> None:
    with pytest.raises(BadInput):
        worker.view.page(Filter(), cluster=cluster, cursor=cursor, limit=1)


def test_what_is_damaged_in_redis_is_passed_over(worker: Worker, link: RedisLink) -> None:
    link.call(lambda client: client.xadd(link.key("audit"), {"v": "1", "host": "x", "record": "{"}))
    link.call(lambda client: client.xadd(link.key("audit"), {"nonsense": "1"}))
    link.call(lambda client: client.hset(link.key("audit:heads"), "here/worker-0", "nonsense"))
    worker.write("good")
    worker.shipper.ship()
    assert worker.seen() == ["good"]
    assert (
        json.loads(link.call(lambda client: client.hget(link.key("audit:heads"), "here/worker-0")) or "{}")["seq"] == 1
    )


def test_many_chains_of_a_host_are_merged_by_time(tmp_path: Path, link: RedisLink) -> None:
    clock = Clock()
    trails = [AuditTrail(tmp_path, chain=f"worker-{number}", clock=clock, file_bytes=2000) for number in range(3)]
    for trail in trails:
        trail.start()
    for number in range(30):
        trails[number % 3].record(event(subject=f"s-{number}"), durable=True)
        clock.now += 1
    for trail in trails:
        trail.close()
    view = AuditView(tmp_path, lambda: "here", None)
    assert [each["subject"] for each in view.all(Filter(), cluster=False)] == [f"s-{n}" for n in reversed(range(30))]
    assert not view.has_cluster
