"""Delivery to one receiver: signed, in order, again while that may help, and given up in the end."""

from __future__ import annotations

from collections import Counter
from contextlib import closing

import pytest

from app.notices import Outbox
from app.notices.notice import Notice, notice
from app.notices.outbox import CAPACITY
from app.notices.signing import key_of
from devstack.processes import free_port
from tests.notices.receiver import SECRET, Receiver
from tests.support import eventually

KEY = key_of(SECRET.encode())


class Sender:
    """An outbox, and how its notices ended."""

    def __init__(self, url: str, *retries: float) -> None:
        self.ended: Counter[str] = Counter()
        self.outbox = Outbox(url, KEY, retries=retries, on_outcome=lambda how: self.ended.update([how]))

    def close(self) -> None:
        self.outbox.close()


def told(name: str) -> Notice:
    return notice("label.moved", 1.7e9, of=(name,), label=name)


def test_a_notice_is_signed_as_the_specification_has_it() -> None:
    with Receiver() as receiver, closing(Sender(receiver.url)) as sender:
        sender.outbox.start()
        sender.outbox.put(told("main"))
        (delivery,) = eventually(lambda: receiver.deliveries)
        assert delivery.is_proven
        assert delivery.headers["content-type"] == "application/json"
        assert delivery.notice["id"] == delivery.headers["webhook-id"]
        assert delivery.notice["data"] == {"label": "main"}
        eventually(lambda: sender.ended == Counter(delivered=1))


@pytest.mark.parametrize("status", [500, 503, 429, 408, -1])
def test_what_may_help_is_tried_again_with_growing_pauses_and_the_same_id(status: int) -> None:
    with (
        Receiver(lambda number: status if number < 2 else 200) as receiver,
        closing(Sender(receiver.url, 0.1, 0.4, 0.4)) as sender,
    ):
        sender.outbox.start()
        sender.outbox.put(told("main"))
        eventually(lambda: sender.ended == Counter(delivered=1))
        first, second, third = receiver.deliveries
        assert first.notice == second.notice == third.notice
        assert first.headers["webhook-id"] == third.headers["webhook-id"]
        assert all(each.is_proven for each in receiver.deliveries)
        assert second.at - first.at >= 0.1
        assert third.at - second.at >= 0.4


@pytest.mark.parametrize("status", [400, 401, 404, 410, 302, 307])
def test_what_does_not_help_is_given_up_at_once_and_the_next_one_sent(status: int) -> None:
    with (
        Receiver(lambda number: status if number == 0 else 200) as receiver,
        closing(Sender(receiver.url, 0.1)) as sender,
    ):
        sender.outbox.start()
        sender.outbox.put(told("a"))
        sender.outbox.put(told("b"))
        eventually(lambda: sender.ended == Counter(failed=1, delivered=1))
        assert [each.notice["data"]["label"] for each in receiver.deliveries] == ["a", "b"]


def test_nobody_there_is_given_up_after_the_last_retry() -> None:
    with closing(Sender(f"http://127.0.0.1:{free_port()}/", 0.02, 0.02)) as sender:
        sender.outbox.start()
        sender.outbox.put(told("a"))
        eventually(lambda: sender.ended == Counter(failed=1))


def test_notices_come_in_order_whatever_fails_between() -> None:
    names = [f"label-{number}" for number in range(20)]
    with (
        Receiver(lambda number: 503 if number % 3 == 0 else 200) as receiver,
        closing(Sender(receiver.url, 0.01, 0.01, 0.01)) as sender,
    ):
        sender.outbox.start()
        for name in names:
            sender.outbox.put(told(name))
        eventually(lambda: sender.ended == Counter(delivered=20))
        assert list(dict.fromkeys(each.notice["data"]["label"] for each in receiver.deliveries)) == names


def test_beyond_the_bound_notices_are_dropped_and_counted() -> None:
    with closing(Sender("http://127.0.0.1:9/")) as sender:
        for number in range(CAPACITY + 7):
            sender.outbox.put(told(str(number)))
        assert sender.ended == Counter(dropped=7)


def test_closing_does_not_wait_for_a_receiver_that_is_away() -> None:
    with Receiver(lambda _number: 503) as receiver:
        sender = Sender(receiver.url, 3600)
        sender.outbox.start()
        sender.outbox.put(told("a"))
        eventually(lambda: receiver.deliveries)
        sender.close()
        assert not sender.ended
