"""ConfigChangeNotifier: who is woken, who may join, and what is left of who has gone."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.model import SecretPath, Target
from app.notify import ConfigChangeNotifier, Subscriber
from app.notify.index import ReverseIndex
from tests.support import eventually

PAY = Target("pay", ("prod",), "main")
SHOP = Target("shop", ("prod",), "main")
PAY_NEXT = Target("pay", ("prod",), "next")
DATABASE, QUEUE = SecretPath("kv", "services/pay/prod/db"), SecretPath("kv", "shared/prod/queue")
SHARED = ("application.yml", "application-prod.yml")


def inputs(target: Target) -> tuple[str, ...]:
    return (*SHARED, f"{target.service}.yml", f"{target.service}-{target.env}.yml")


@pytest.fixture
def hub() -> ConfigChangeNotifier:
    return ConfigChangeNotifier(capacity=10)


class Listener(Subscriber):
    """A Subscriber that can be asked whether it was woken."""

    def __init__(self) -> None:
        self.woken = threading.Event()
        super().__init__(self.woken)


def joined(hub: ConfigChangeNotifier, *targets: Target) -> Listener:
    subscriber = Listener()
    assert hub.join(subscriber)
    for target in targets:
        hub.subscribe(subscriber, target, inputs(target))
    return subscriber


def woken(subscriber: Listener) -> bool:
    return subscriber.woken.wait(0)


def inner(hub: ConfigChangeNotifier) -> list[Any]:
    """Every collection that it holds, whatever it is for."""
    return [value for value in vars(hub).values() if isinstance(value, dict | set | list | ReverseIndex)]


@pytest.mark.parametrize(
    ("label", "paths", "affected"),
    [
        ("main", ["pay.yml"], {PAY}),
        ("next", ["pay.yml"], {PAY_NEXT}),
        ("main", ["pay-prod.yml"], {PAY}),
        ("main", ["application.yml"], {PAY, SHOP}),
        ("main", ["pay.yml", "application-prod.yml", "shop.yml"], {PAY, SHOP}),
        ("main", ["pay-dev.yml", "README.md", "PAY.yml"], set()),
        ("main", [], set()),
        ("other", ["pay.yml"], set()),
    ],
)
def test_a_path_affects_the_topics_that_have_it_among_their_inputs(
    hub: ConfigChangeNotifier, label: str, paths: list[str], affected: set[Target]
) -> None:
    joined(hub, PAY, SHOP)
    joined(hub, PAY, PAY_NEXT)
    assert hub.affected(label, iter(paths)) == affected


def test_only_subscribers_of_the_topic_are_woken_and_counted(hub: ConfigChangeNotifier) -> None:
    one, two, other = joined(hub, PAY), joined(hub, PAY, SHOP), joined(hub, SHOP)
    assert hub.wake([PAY, PAY_NEXT]) == 2
    assert woken(one)
    assert woken(two)
    assert not woken(other)
    assert set(one.take()) == set(two.take()) == {PAY}
    assert other.take() == ()


def test_marks_are_conflated_and_taken_once(hub: ConfigChangeNotifier) -> None:
    subscriber = joined(hub, PAY, SHOP)
    for _ in range(100):
        hub.wake([PAY, SHOP])
    assert set(subscriber.take()) == {PAY, SHOP}
    assert subscriber.take() == ()


def test_who_unsubscribes_is_not_woken_and_keeps_the_place(hub: ConfigChangeNotifier) -> None:
    subscriber = joined(hub, PAY, SHOP)
    hub.unsubscribe(subscriber, [PAY, PAY_NEXT])
    assert hub.wake([PAY]) == 0
    assert hub.wake([SHOP]) == 1
    assert len(hub) == 1
    assert hub.targets() == [SHOP]


def test_the_last_who_leaves_leaves_nothing_behind(hub: ConfigChangeNotifier) -> None:
    one, two = joined(hub, PAY, SHOP), joined(hub, PAY, PAY_NEXT)
    hub.refer(PAY, {DATABASE})
    hub.refer(PAY_NEXT, None)
    hub.leave(one, [PAY, SHOP])
    assert set(hub.targets()) == {PAY, PAY_NEXT}
    assert hub.affected("main", SHARED) == {PAY}
    hub.leave(two, [PAY, PAY_NEXT])
    hub.leave(two, [PAY, PAY_NEXT])
    assert [each for each in inner(hub) if each] == []
    assert len(hub) == 0


def test_a_secret_is_behind_the_topics_of_which_somebody_has_said_so(hub: ConfigChangeNotifier) -> None:
    joined(hub, PAY, SHOP)
    hub.refer(PAY, {DATABASE, QUEUE})
    hub.refer(SHOP, {QUEUE})
    assert (hub.using([DATABASE]), hub.using([QUEUE, DATABASE]), hub.using([])) == ({PAY}, {PAY, SHOP}, set())
    hub.refer(PAY, {DATABASE})
    assert (hub.using([DATABASE]), hub.using([QUEUE])) == ({PAY}, {SHOP})


def test_a_topic_of_which_nobody_can_say_it_may_have_any_secret_behind_it(hub: ConfigChangeNotifier) -> None:
    joined(hub, PAY, SHOP)
    hub.refer(PAY, None)
    hub.refer(SHOP, {QUEUE})
    assert hub.using([DATABASE]) == {PAY}
    hub.refer(PAY, {QUEUE})
    assert hub.using([DATABASE]) == set()


def test_a_topic_is_unread_until_somebody_has_said_what_is_behind_it_and_when_that_may_have_changed(
    hub: ConfigChangeNotifier,
) -> None:
    hub.refer(PAY, {DATABASE})
    joined(hub, PAY, SHOP)
    assert hub.unread() == [PAY, SHOP], "nobody had subscribed when it was said"
    hub.refer(PAY, {DATABASE})
    assert (hub.unread(), hub.is_unread(PAY), hub.is_unread(SHOP)) == ([SHOP], False, True)
    hub.unsettle([PAY, PAY_NEXT])
    assert hub.unread() == [SHOP, PAY]
    assert hub.using([DATABASE]) == {PAY}


def test_who_is_new_since_a_moment_is_known(hub: ConfigChangeNotifier) -> None:
    one = joined(hub, PAY, SHOP)
    moment = hub.moment()
    assert hub.since(moment) == []
    joined(hub, PAY, PAY_NEXT)
    hub.unsubscribe(one, [SHOP])
    hub.subscribe(one, SHOP, inputs(SHOP))
    assert hub.since(moment) == [SHOP, PAY_NEXT]
    assert set(hub.labels()) == {"main", "next"}
    assert hub.of_label("main") == {PAY, SHOP}


def test_no_more_than_the_capacity_may_join(hub: ConfigChangeNotifier) -> None:
    assert not hub.draining
    first = joined(hub)
    for _ in range(9):
        joined(hub)
    refused = Subscriber(threading.Event())
    assert not hub.join(refused)
    hub.leave(refused, [])
    assert len(hub) == 10
    hub.leave(first, [])
    assert hub.join(refused)


def test_of_many_who_come_at_once_so_many_get_a_place_as_there_are(hub: ConfigChangeNotifier) -> None:
    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(lambda _: hub.join(Subscriber(threading.Event())), range(200)))
    assert sum(places) == len(hub) == 10


def test_a_drain_wakes_everyone_and_lets_nobody_in(hub: ConfigChangeNotifier) -> None:
    listening, silent = joined(hub, PAY), joined(hub)
    hub.drain()
    assert hub.draining
    assert woken(listening)
    assert woken(silent)
    assert listening.take() == (), "woken for the end, not for a topic"
    assert not hub.join(Subscriber(threading.Event()))
    assert hub.wake([PAY]) == 1, "who is still here is still told"


class _Listener:
    """A thread that does what a stream does: subscribes and unsubscribes, waits, and looks at the state it is told of.

    Half of the topics come and go; the last one stays, and its state must have been seen at the end.
    """

    def __init__(
        self, hub: ConfigChangeNotifier, state: dict[Target, int], topics: list[Target], stays: Target
    ) -> None:
        self._hub = hub
        self._state = state
        self._topics = topics
        self._subscriber = joined(hub, stays)
        self.stays = stays
        self.seen = -1
        self.stop = threading.Event()

    def run(self) -> None:
        dice = random.Random(id(self))
        while not self.stop.is_set():
            topic = dice.choice(self._topics)
            self._hub.subscribe(self._subscriber, topic, inputs(topic))
            self._subscriber.woken.wait(dice.random() / 1000)
            self._look()
            self._hub.unsubscribe(self._subscriber, [topic])
        while self._subscriber.woken.wait(0):
            self._look()
        self._hub.leave(self._subscriber, [self.stays])

    def _look(self) -> None:
        self._subscriber.woken.clear()
        if self.stays in self._subscriber.take():
            self.seen = self._state[self.stays]


def test_whoever_comes_and_goes_no_mark_is_lost() -> None:
    hub = ConfigChangeNotifier(capacity=100)
    topics = [Target(f"service-{n}", ("prod",), "main") for n in range(12)]
    state = dict.fromkeys(topics, 0)
    listeners = [_Listener(hub, state, topics[6:], topics[n % 6]) for n in range(6)]
    threads = [threading.Thread(target=each.run) for each in listeners]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        for topic in topics:
            state[topic] += 1  # first the state, then the word: as the installer swaps before it wakes
        hub.wake(topics)
        hub.affected("main", SHARED)
    eventually(lambda: all(each.seen == state[each.stays] for each in listeners))
    for each in listeners:
        each.stop.set()
    for thread in threads:
        thread.join()
    assert [each for each in inner(hub) if each] == []
