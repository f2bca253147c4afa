"""Chains that name each other's ends: what one alone cannot show."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.audit import Anchors, AuditTrail, verify_directory
from app.audit.anchors import Anchor
from app.audit.event import Link
from app.audit.files import host_of, made_host
from app.audit.shared import ChainHead
from tests.audit.support import Clock, event


def opened(directory: Path, chain: str) -> AuditTrail:
    trail = AuditTrail(directory, chain=chain, clock=Clock())
    trail.start()
    return trail


def head_of(trail: AuditTrail) -> ChainHead:
    assert trail.end is not None
    return ChainHead.written(trail.end[1], trail.end[1].seq)


class Site:
    """Two workers of one host and one of another, which have seen each other's ends."""

    def __init__(self, here: Path, there: Path) -> None:
        self.here, self.there = here, there
        trails = {
            f"{made_host(here)}/worker-0": opened(here, "worker-0"),
            f"{made_host(here)}/worker-1": opened(here, "worker-1"),
            f"{made_host(there)}/worker-0": opened(there, "worker-0"),
        }
        for name, trail in trails.items():
            for number in range(5):
                trail.record(event(subject=f"{name}-{number}"), durable=True)
        heads = {name: head_of(trail) for name, trail in trails.items()}
        for name, trail in trails.items():
            host = name.partition("/")[0]
            anchors = Anchors(lambda told, trail=trail: trail.record(told, durable=True), lambda host=host: host)  # type: ignore[misc]
            anchors.anchor(name.partition("/")[2], heads)
        for trail in trails.values():
            trail.close()

    def broken(self, *directories: Path, archived: bool = False) -> dict[str, str | None]:
        verdicts = verify_directory(*(directories or (self.here,)), archived=archived)
        return {name: verdict.reason for name, verdict in verdicts.items() if not verdict.intact}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "here", tmp_path / "there")


def cut(path: Path, lines: int) -> None:
    kept = path.read_bytes().splitlines(keepends=True)[:-lines]
    path.write_bytes(b"".join(kept))


def test_untouched_trails_are_intact_alone_and_together(site: Site) -> None:
    assert not site.broken()
    assert not site.broken(site.there)
    assert not site.broken(site.here, site.there)


def test_an_end_that_was_cut_off_is_found_by_another_chain_of_the_host(site: Site) -> None:
    cut(site.here / "worker-1.jsonl", 3)
    assert site.broken() == {
        "worker-1.jsonl": "its end was cut off: worker-0.jsonl:6 has seen record 5, and 3 is the last here"
    }


def test_a_chain_that_was_written_anew_is_found(site: Site) -> None:
    (site.here / "worker-1.jsonl").unlink()
    trail = opened(site.here, "worker-1")
    for _ in range(9):
        trail.record(event(subject="forged"), durable=True)
    trail.close()
    assert site.broken() == {"worker-1.jsonl": "worker-0.jsonl:6 has seen another record 5"}


def test_a_chain_that_is_gone_is_found(site: Site) -> None:
    (site.here / "worker-1.jsonl").unlink()
    assert list(site.broken()) == ["worker-1.jsonl"]


def test_the_trail_of_another_host_shows_what_all_of_this_one_hide(site: Site) -> None:
    for chain in ("worker-0", "worker-1"):
        cut(site.here / f"{chain}.jsonl", 3)
    assert not site.broken()
    assert set(site.broken(site.here, site.there)) == {
        f"{site.here}/{chain}.jsonl" for chain in ("worker-0", "worker-1")
    }


def test_an_anchor_of_what_was_moved_elsewhere_is_no_fault_when_that_is_said(site: Site, tmp_path: Path) -> None:
    trail = AuditTrail(site.here, chain="worker-1", clock=Clock(), file_bytes=1)
    trail.start()
    for _ in range(2):
        trail.record(event(), durable=True)
    trail.close()
    assert not site.broken()
    for path in site.here.glob("worker-1.to-00000000000[56].jsonl"):
        shutil.move(path, tmp_path)
    assert site.broken()
    assert not site.broken(archived=True)


def test_only_what_has_grown_by_more_than_anchors_is_anchored_again(tmp_path: Path) -> None:
    recorded: list[tuple[str, ...]] = []
    anchors = Anchors(lambda told: recorded.append(told.keys), lambda: "here")
    anchors.anchor(
        "worker-0", {"here/worker-0": ChainHead(Link(4, "a"), 4), "here/worker-1": ChainHead(Link(7, "b"), 7)}
    )
    anchors.anchor("worker-0", {"here/worker-1": ChainHead(Link(8, "c"), 7)})
    anchors.anchor(
        "worker-0", {"here/worker-1": ChainHead(Link(9, "d"), 9), "there/worker-1": ChainHead(Link(1, "e"), 1)}
    )
    assert recorded == [("worker-1#7=b",), ("worker-1#9=d", "there/worker-1#1=e")]


@pytest.mark.parametrize("text", ["", "x", "#1=a", "x#=a", "x#-1=a", "x#1", 7, None])
def test_what_is_no_anchor_is_passed_over(text: object) -> None:
    found = Anchor.parse(text)
    assert found is None or found.link.hash == ""


def test_the_host_of_a_trail_is_made_once(tmp_path: Path) -> None:
    name = made_host(tmp_path / "audit")
    assert made_host(tmp_path / "audit") == name == host_of(tmp_path / "audit")
    assert made_host(tmp_path / "other") != name
    assert host_of(tmp_path / "nowhere") is None
