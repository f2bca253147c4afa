"""How heads of several repositories become one, and which of their former ones come first."""

from __future__ import annotations

import pytest

from app.engine.world import Apart, Head, cursor_of, joined, world_of
from app.model import RefKind, Stale, StaleReason, Target, parts_of, shown_commit
from app.notify import Announced, Cursor, LabelHead, Rev
from app.notify.cursor import HISTORY
from app.repository.further import MOST


def line(name: str, *commits: str, kind: RefKind = RefKind.BRANCH) -> tuple[str, Head]:
    """A repository whose label stands at the first of these, and stood at the others before."""
    former = tuple(Announced(commit, f"at {commit}") for commit in commits[1:])
    return name, Head("main", kind, commits[0], f"at {commits[0]}", former)


def test_of_one_repository_the_head_is_its_own_by_a_name_that_says_so() -> None:
    head = joined([line("pay", "c3", "c2", "c1")])
    assert (head.label, head.commit, head.kind) == ("pay:main", "pay:c3", RefKind.BRANCH)
    assert [each.commit for each in head.former] == ["pay:c2", "pay:c1"]


def test_of_several_the_nearest_former_heads_come_first() -> None:
    head = joined([line("a", "a3", "a2", "a1"), line("b", "b2", "b1")])
    assert (head.label, head.commit) == ("a:main^b:main", "a:a3^b:b2")
    assert [shown_commit(each.commit) for each in head.former] == ["a3,b1", "a2,b2", "a2,b1", "a1,b2", "a1,b1"]
    assert parts_of(head.former[0].commit) == (("a", "a3"), ("b", "b1"))


@pytest.mark.parametrize("repositories", [1, 6, MOST])
def test_however_many_former_heads_there_are_few_are_tried(repositories: int) -> None:
    """Each repository has as many as a label remembers, and together they have more than could be listed."""
    names = [f"r{number:02}" for number in range(repositories)]
    head = joined([line(name, *(f"{name}c{number}" for number in range(1 + HISTORY))) for name in names])
    assert len(head.former) == HISTORY
    back = [sum(int(commit.partition("c")[2]) for _, commit in parts_of(each.commit)) for each in head.former]
    assert back == sorted(back)
    assert back[0] == 1


def test_a_tag_among_branches_has_no_former_version() -> None:
    assert joined([line("a", "a1"), line("b", "b1", kind=RefKind.TAG)]).kind is RefKind.COMMIT


def test_a_world_knows_the_labels_of_each_repository_and_no_strangers_ones() -> None:
    labels = {
        name: LabelHead(RefKind.BRANCH, digit * 40, 1, "t")
        for name, digit in {"main": "1", "pay:main": "2", "pay:next": "3", "gone:main": "4"}.items()
    }
    away = Stale(StaleReason.GIT, "since")
    world = world_of(Cursor(Rev("1-x", 5), "main", labels), (away,), 0, {"pay": Apart("main")})
    assert set(world.heads) == {"main"}
    assert {name: set(each.heads) for name, each in world.further.items()} == {"pay": {"main", "next"}}
    stands = world.stands("pay:main")
    assert stands is not None
    assert stands.commit == f"pay:{'2' * 40}"
    assert world.stands("pay:other") is world.stands("gone:main") is world.stands("pay:main^gone:main") is None
    assert (world.stale_of("main"), world.stale_of("pay:main")) == ((away,), ())
    assert set(cursor_of(world).labels) == {"main", "pay:main", "pay:next"}


def test_what_makes_one_repository_stale_is_told_of_what_is_read_from_it() -> None:
    away, behind = Stale(StaleReason.GIT, "since"), Stale(StaleReason.BEHIND, "now")
    further = {"pay": Apart("main", (away,)), "shop": Apart("main")}
    world = world_of(Cursor(Rev("1-x", 5), "main"), (behind,), 0, further)
    assert world.stale_of("shop:main") == ()
    assert world.stale_of("shop:main^pay:main") == (away,)
    assert world.stale_of("main") == (behind,)


def test_a_target_says_which_repositories_it_is_read_from_and_callers_see_the_label_alone() -> None:
    target = Target("pay", ("prod",), "pay:v1^shared:main")
    assert (target.repositories, target.topic, target.is_candidate) == (("pay", "shared"), "pay/prod/v1", False)
    assert Target("pay", ("prod",), "main").repositories == ()
