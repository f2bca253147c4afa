"""The plan of the stress test: one number says all of it."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from tests.stress.plan import DECK, PAUSE, plan
from tests.stress.troubles import Troubles


def test_a_seed_brings_the_same_troubles_again_and_another_seed_others() -> None:
    first, again, other = (list(islice(plan(seed), 500)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_every_hundred_troubles_are_of_all_kinds_as_often_as_the_deck_says() -> None:
    steps = list(islice(plan(7), 300))
    assert sum(DECK.values()) == 100
    for start in (0, 100, 200):
        assert Counter(step.kind for step in steps[start : start + 100]) == DECK
    assert len({tuple(step.kind for step in steps[start : start + 100]) for start in (0, 100, 200)}) == 3
    assert all(0 <= step.pause <= PAUSE for step in steps)


def test_there_are_hands_for_every_trouble() -> None:
    assert all(callable(getattr(Troubles, kind)) for kind in DECK)
