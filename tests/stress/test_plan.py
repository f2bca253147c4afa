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


def test_each_deck_of_troubles_is_dealt_whole_and_in_an_order_of_its_own() -> None:
    size = sum(DECK.values())
    steps = list(islice(plan(7), 3 * size))
    decks = [[step.kind for step in steps[start : start + size]] for start in (0, size, 2 * size)]
    assert [Counter(deck) for deck in decks] == [DECK] * 3
    assert decks[0] != decks[1] != decks[2]
    assert all(0 <= step.pause <= PAUSE for step in steps)


def test_there_are_hands_for_every_trouble() -> None:
    assert all(callable(getattr(Troubles, kind)) for kind in DECK)
