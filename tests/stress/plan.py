"""Which troubles come, and in which order: all of it from one number, so that a run can be made again.

What can be replayed is this sequence. When each trouble strikes what is under way in the servers cannot.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

#: How often each trouble comes before all of them come again, in another order.
DECK: Mapping[str, int] = {
    "push": 18,
    "push_some": 5,
    "push_to_all": 3,
    "comment": 3,
    "damage": 2,
    "restore": 4,
    "force": 4,
    "cut": 10,
    "stall": 5,
    "kill": 1,
    "kill_puller": 1,
    "reload": 1,
    "kill_connections": 2,
    "empty": 1,
    "roll_back": 1,
}
#: Of all pushes these come with the word of a webhook; the others are found by polling, or with the next.
HOOKED = 0.8
#: Seconds between two troubles, at most.
PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Step:
    """One trouble. `dice` are numbers from 0 to 1 by which it chooses whom it strikes; `pause` comes after it."""

    kind: str
    dice: tuple[float, float, float]
    hooked: bool
    pause: float


def plan(seed: int) -> Iterator[Step]:
    """Without an end; the same for the same seed, whatever becomes of the steps."""
    numbers = random.Random(seed)
    deck = [kind for kind, count in DECK.items() for _ in range(count)]
    while True:
        numbers.shuffle(deck)
        for kind in deck:
            dice = (numbers.random(), numbers.random(), numbers.random())
            yield Step(kind, dice, numbers.random() < HOOKED, numbers.uniform(0, PAUSE))
