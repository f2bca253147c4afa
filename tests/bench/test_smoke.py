"""The measurements at a small size: that they run, and that nothing has become grossly worse.

The bounds are many times what an idle machine shows: a busy one must not fail them, a wrong order of magnitude must.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from bench import churn, client, history, planning, reads, sizes, vault
from bench.fanout import Plan, measure
from bench.measure import spread
from bench.wire import answer_call, cut_events, cut_frames, cut_lines, events, text_frame, websocket

KINDS = {"websocket": websocket, "sse": events}
#: KB per stream, the caches of ten topics included.
GROSS_MEMORY = 200.0
#: Times the plain sockets' time, and what a start of the caches may take at this size, in seconds.
GROSS_RATIO, ALLOWANCE = 40.0, 1.0


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_streams_are_told_and_cost_no_multiple_of_what_they_should(kind: str, tmp_path: Path) -> None:
    found = measure(tmp_path, Plan(KINDS[kind], streams=200, topics=10, rounds=1, settle=0.5))
    assert found.bytes_each > 1000, "the change and its sync have been counted"
    assert found.used < GROSS_MEMORY
    assert found.told.p99 < GROSS_RATIO * found.floor.p99 + ALLOWANCE


@pytest.mark.slow
def test_two_hundred_streams_come_and_go_without_a_trace() -> None:
    rows = {row.name.partition(": ")[2]: row.value for row in churn.rows(200, wave=50, keep=False)}
    assert rows["streams left"] == 0
    assert rows["descriptors left"] <= 2, "a connection of a pool may have come"
    assert rows["memory left each"] < 20


@pytest.mark.slow
def test_the_first_page_of_a_history_comes_from_what_is_kept(tmp_path: Path) -> None:
    found = history.measure(tmp_path, history.Plan(commits=300, files=500, services=50, pages=5))
    assert statistics.median(found.shown) > 3, "on a busy machine the server cuts one short"
    assert max(found.first) < GROSS_RATIO * history.BOUND


@pytest.mark.slow
def test_an_idle_client_costs_little_and_its_import_less() -> None:
    rows = {row.name: row for row in client.rows(client.Plan(2, 3, 1.5), keep=False)}
    found = {name: row.value for name, row in rows.items()}
    bare = rows["client: import"].floor or 0.0
    assert found["client: import"] < 10 * max(client.IMPORT_BOUND, bare)
    for kind in ("asyncio", "threads"):
        assert 0 < found[f"client, {kind}: memory of each of 3"] < 5000
        assert found[f"client, {kind}: wake-ups a minute"] < 1000


@pytest.mark.slow
def test_a_plan_looks_at_what_it_touches(tmp_path: Path) -> None:
    found = planning.measure(tmp_path, history.Plan(commits=2, files=500, services=50), rounds=3)
    assert found.targets == 100
    assert max(found.one) < GROSS_RATIO * planning.ONE_BOUND


@pytest.mark.slow
def test_what_follows_a_small_repository_is_woken_soon(tmp_path: Path) -> None:
    plan = sizes.Plan(targets=8, reads=3, commits=2, shared=1, starts=0)
    found = sizes.measure(tmp_path, 100, plan)
    assert max(found.read) < GROSS_RATIO * sizes.READ_BOUND
    assert 0 < max(found.commit) < GROSS_RATIO * sizes.COMMIT_BOUND


@pytest.mark.slow
def test_vault_is_asked_for_each_secret_once(tmp_path: Path) -> None:
    found = vault.measure(tmp_path, 3, 4)
    assert found.distinct == 10, "three of its own for each target, and one for all"
    assert (found.cold.documents, found.warm.documents) == (found.distinct, 0)
    assert found.rotated.documents == found.changed == 4


@pytest.mark.slow
def test_a_read_costs_no_multiple_of_a_function_that_returns_the_same_bytes(tmp_path: Path) -> None:
    found = reads.measure(tmp_path, reads.Plan(rounds=2, seconds=1, services=5, tokens=20))
    # The better of two rounds: the two sides of one are measured one after the other, on a machine that does more.
    assert found["whole"].ratios[-1] > reads.WHOLE_BOUND / 2
    assert found["unchanged"].ratios[-1] > reads.UNCHANGED_BOUND / 2


def test_messages_are_cut_wherever_the_network_cuts_them() -> None:
    payloads = [b"a", b"b" * 200, b"c" * 70_000]
    data = b"".join(map(text_frame, payloads))
    for at in (*range(12), 200, 210, len(data) - 1):
        first, rest = cut_frames(data[:at])
        second, nothing = cut_frames(rest + data[at:])
        assert first + second == payloads, at
        assert nothing == b""
    assert cut_events(b"id: 1\ndata: a\n\ndata: b") == ([b"id: 1\ndata: a"], b"data: b")


def test_a_spread_is_told_from_its_beginning() -> None:
    told = spread([10.0 + number / 100 for number in range(100)], since=10.0)
    assert (told.p50, told.p99, told.last) == (0.5, 0.99, 0.99)


def test_lines_are_cut_and_calls_are_answered_by_their_id() -> None:
    assert cut_lines(b'{"created":true}\n5\r\n{"ev') == ([b'{"created":true}', b"5\r"], b'{"ev')
    ((answer,), rest) = cut_masked(answer_call(b'{"request": {"method": "notify", "call_id": "7"}}'))
    assert b'"call_id": "7"' in answer
    assert rest == b""
    assert answer_call(b'{"response": {}}') == b""
    assert answer_call(b"{\xe5\x00") == b"", "a ping's four bytes may begin like anything"


def cut_masked(data: bytes) -> tuple[list[bytes], bytes]:
    """Of our own frames, whose mask is zero."""
    size = data[1] & 0x7F
    return [data[6 : 6 + size]], data[6 + size :]
