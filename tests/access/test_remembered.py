"""The memory of verified tokens, under many threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.access.remembered import RememberedTokens
from app.model import Principal
from devstack.issuer import LocalIssuer
from tests.access.support import opened


def named(subject: str) -> Principal:
    return Principal("https://issuer", subject, (), 0)


@pytest.mark.parametrize(("now", "known"), [(99, False), (100, True), (159, True), (160, False)])
def test_a_principal_is_known_from_when_until_when(now: float, known: bool) -> None:
    tokens = RememberedTokens(10)
    tokens.put(b"a", named("a"), now=100, until=160)

    assert (tokens.get(b"a", now) is not None) is known


def test_what_is_over_already_is_not_kept() -> None:
    tokens = RememberedTokens(10)
    tokens.put(b"a", named("a"), now=100, until=100)

    assert len(tokens) == 0


def test_what_is_over_is_dropped_when_asked_for() -> None:
    tokens = RememberedTokens(10)
    tokens.put(b"a", named("a"), now=100, until=160)
    tokens.get(b"a", 200)

    assert len(tokens) == 0


def test_what_was_used_longest_ago_goes_first() -> None:
    tokens = RememberedTokens(2)
    for digest in (b"a", b"b"):
        tokens.put(digest, named(digest.decode()), now=0, until=60)
    tokens.get(b"a", 1)
    tokens.put(b"c", named("c"), now=2, until=60)

    assert [tokens.get(digest, 3) is not None for digest in (b"a", b"b", b"c")] == [True, False, True]


def test_a_memory_of_nothing_remembers_nothing() -> None:
    tokens = RememberedTokens(0)
    tokens.put(b"a", named("a"), now=0, until=60)

    assert tokens.get(b"a", 1) is None


def together(workers: int, work: Callable[[int], None]) -> None:
    """Run `work` in that many threads at once, and raise what any of them raised."""
    barrier = threading.Barrier(workers)

    def begin(number: int) -> None:
        barrier.wait()
        work(number)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(begin, range(workers)))


def test_many_threads_keep_the_memory_whole() -> None:
    tokens = RememberedTokens(50)

    def work(number: int) -> None:
        for step in range(3000):
            name = str((step * (number + 1)) % 200)
            found = tokens.get(name.encode(), step)
            assert found is None or found.subject == name
            tokens.put(name.encode(), named(name), now=step, until=step + 7)
            assert len(tokens) <= 50

    together(8, work)


def test_many_threads_verify_each_token_as_its_own(issuer: LocalIssuer) -> None:
    issued = {f"subject-{number}": issuer.token(f"subject-{number}", algorithm="ES256") for number in range(20)}

    with opened(issuer, remember=10) as gate:

        def work(number: int) -> None:
            for step in range(60):
                subject = f"subject-{(step * (number + 1)) % 20}"
                assert gate.verify(issued[subject]).subject == subject

        together(6, work)
