"""What every CursorStore does: the one in memory, and the one in Redis."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from app.model import RefKind, SecretPath
from app.notify import Announced, Cursor, CursorStore, Hold, LabelHead, Rev
from app.secrets import Known
from tests.notify.values import AT, DATABASE, EPOCH, commit, cursor, head, seeded, standing

THREADS = 8


def test_a_new_store_holds_nothing(store: CursorStore) -> None:
    assert store.read() is None
    assert store.in_use() == {}


def test_what_is_seeded_is_read_back_whole(store: CursorStore) -> None:
    first = cursor(
        labels={
            "main": LabelHead(RefKind.BRANCH, commit(2), 1, AT, (Announced(commit(1), AT),)),
            "v1": LabelHead(RefKind.TAG, commit(1), 1, AT),
            "grüße/😀": head(3),
            "gone": head(None),
        }
    )
    assert store.seed(None, first)
    assert store.read() == first
    assert store.in_use() == {DATABASE: Known(3)}


def test_only_one_of_two_seeds_an_empty_store(store: CursorStore) -> None:
    assert store.seed(None, cursor())
    assert not store.seed(None, cursor(epoch="1-fedcba98"))
    assert standing(store).rev.epoch == EPOCH


def test_a_seed_replaces_everything_if_the_store_stands_where_the_seeder_saw_it(store: CursorStore) -> None:
    before = seeded(store, main=head(1), old=head(2))
    after = Cursor(Rev("2-00000000", 1), "trunk", {"trunk": head(9)}, {})
    assert store.seed(before, after)
    assert store.read() == after
    assert store.in_use() == {}
    assert not store.seed(before, cursor(epoch="3-00000000")), "it stands elsewhere by now"


def test_an_announcement_moves_one_label_and_the_rev(store: CursorStore) -> None:
    before = seeded(store, main=head(1), other=head(7))
    assert store.announce(before, "main", before.labels["main"].moved(RefKind.BRANCH, commit(2), AT))
    after = standing(store)
    assert after.rev == Rev(EPOCH, 2)
    assert after.labels["main"] == LabelHead(RefKind.BRANCH, commit(2), 2, AT, (Announced(commit(1), AT),))
    assert after.labels["other"] == before.labels["other"]


def test_a_label_that_nobody_knew_can_be_announced(store: CursorStore) -> None:
    before = seeded(store)
    assert store.announce(before, "feature/x", head(5))
    assert standing(store).labels["feature/x"] == head(5, seq=2)


def test_who_read_before_another_moved_the_label_must_read_again(store: CursorStore) -> None:
    before = seeded(store)
    assert store.announce(before, "main", head(2))
    assert not store.announce(before, "main", head(3))
    assert standing(store).labels["main"].commit == commit(2)
    assert store.announce(standing(store), "main", head(3))


def test_a_move_of_another_label_is_no_reason_to_read_again(store: CursorStore) -> None:
    before = seeded(store, main=head(1), other=head(1))
    assert store.announce(before, "other", head(2))
    assert store.announce(before, "main", head(2))
    assert standing(store).rev.seq == 3


def test_two_who_found_the_same_head_both_succeed_and_it_counts_once(store: CursorStore) -> None:
    before = seeded(store)
    assert store.announce(before, "main", head(2))
    assert store.announce(before, "main", head(2))
    assert standing(store).rev.seq == 2


def test_a_deletion_is_a_move_and_keeps_the_former_heads(store: CursorStore) -> None:
    before = seeded(store, main=head(1), gone=head(4))
    deletion = before.labels["gone"].moved(RefKind.BRANCH, None, AT)
    assert store.announce(before, "gone", deletion)
    assert store.announce(before, "gone", deletion), "the same deletion, seen by another host"
    label = standing(store).labels["gone"]
    assert (label.commit, label.seq, label.former) == (None, 2, (Announced(commit(4), AT),))
    assert store.announce(standing(store), "gone", label.moved(RefKind.TAG, commit(5), AT)), "and it may come back"
    assert standing(store).labels["gone"].kind is RefKind.TAG


def test_nothing_is_announced_in_an_epoch_that_is_over(store: CursorStore) -> None:
    before = seeded(store)
    assert store.seed(before, cursor(epoch="2-00000000"))
    assert not store.announce(before, "main", head(2))
    assert not store.announce(before, "main", head(1)), "not even what stands there"
    assert not store.rotate(EPOCH, DATABASE, Known(3), Known(4))
    assert store.adopt(EPOCH, SecretPath("kv", "new"), Known(8)) == Known(8), "answered, and not remembered"
    assert set(store.in_use()) == {DATABASE}
    assert standing(store).rev == Rev("2-00000000", 1)


def test_the_first_to_adopt_a_secret_decides_for_all(store: CursorStore) -> None:
    seeded(store)
    path = SecretPath("kv", "shared/prod/mail")
    assert store.adopt(EPOCH, path, Known(5, "digest")) == Known(5, "digest")
    assert store.adopt(EPOCH, path, Known(6)) == Known(5, "digest")
    assert store.adopt(EPOCH, DATABASE, Known(1)) == Known(3), "announced before"
    assert store.in_use() == {DATABASE: Known(3), path: Known(5, "digest")}
    assert standing(store).rev.seq == 1, "an adoption changes no answer"


def test_a_rotation_is_a_revision_if_the_version_is_still_the_one_that_was_seen(store: CursorStore) -> None:
    seeded(store)
    assert store.rotate(EPOCH, DATABASE, Known(3), Known(4))
    assert not store.rotate(EPOCH, DATABASE, Known(3), Known(5))
    assert standing(store).rev.seq == 2
    assert standing(store).secrets == {DATABASE: Known(4)}
    assert store.rotate(EPOCH, DATABASE, Known(4), Known(4, gone=True))
    assert store.in_use() == {DATABASE: Known(4, gone=True)}


def test_a_secret_that_nobody_adopted_cannot_be_rotated(store: CursorStore) -> None:
    seeded(store)
    assert not store.rotate(EPOCH, SecretPath("kv", "unknown"), Known(), Known(1))


def test_racing_announcements_count_one_by_one_and_none_is_lost(store: CursorStore) -> None:
    """Each thread moves its own label ten times, and all of them fight for one more."""
    seeded(store, **{"main": head(1), **{f"own-{n}": head(1) for n in range(THREADS)}})
    won: list[int] = []
    start = threading.Barrier(THREADS)

    def run(thread: int) -> None:
        start.wait()
        for step in range(10):
            assert store.announce(standing(store), f"own-{thread}", head(1000 * thread + step))
            if store.announce(standing(store), "main", head(100_000 + 1000 * thread + step)):
                won.append(thread)

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(run, thread) for thread in range(THREADS)]:
            done.result()
    after = standing(store)
    assert after.rev.seq == 1 + 10 * THREADS + len(won)
    assert sorted(label.seq for label in after.labels.values())[-1] == after.rev.seq
    assert [after.labels[f"own-{n}"].commit for n in range(THREADS)] == [commit(1000 * n + 9) for n in range(THREADS)]


def test_of_those_who_race_with_one_reading_exactly_one_wins(store: CursorStore) -> None:
    before = seeded(store)
    start = threading.Barrier(THREADS)

    def run(thread: int) -> bool:
        start.wait()
        return store.announce(before, "main", head(10 + thread))

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(run, range(THREADS))) == 1
    assert standing(store).rev.seq == 2


def test_all_who_adopt_at_once_agree(store: CursorStore) -> None:
    seeded(store)
    path = SecretPath("kv", "raced")
    with ThreadPoolExecutor(THREADS) as pool:
        agreed = set(pool.map(lambda version: store.adopt(EPOCH, path, Known(version)), range(1, THREADS + 1)))
    assert len(agreed) == 1
    assert store.in_use()[path] in agreed


def test_hold_is_announced_like_a_move_and_kept_by_the_next_one(store: CursorStore) -> None:
    assert store.seed(None, cursor(labels={"main": head(1)}))
    hold = Hold(commit(1), 1_800_000_000.5, AT, 'a "@seq" of its own')
    before = standing(store)
    assert store.announce(before, "main", replace(before.labels["main"], hold=hold))
    after = standing(store)
    assert (after.rev.seq, after.labels["main"].hold) == (before.rev.seq + 1, hold)
    assert store.announce(after, "main", after.labels["main"].moved(RefKind.BRANCH, commit(2), AT))
    assert standing(store).labels["main"].hold == hold
    assert store.announce(before, "main", replace(before.labels["main"], commit=commit(2)))  # out of date: not done
    assert standing(store).labels["main"].hold == hold
