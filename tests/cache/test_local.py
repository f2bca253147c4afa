"""LocalCache: bounded, and forgetting what was used longest ago."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from app.cache import LocalCache


def test_what_was_used_longest_ago_is_forgotten_first() -> None:
    cache: LocalCache[str, int] = LocalCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    assert len(cache) == 2


def test_a_value_that_is_put_again_replaces_the_former_and_counts_as_used() -> None:
    cache: LocalCache[str, int] = LocalCache(2)
    for key, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        cache.put(key, value)
    assert (cache.get("a"), cache.get("b")) == (3, None)


def test_false_and_empty_values_are_hits() -> None:
    lookups: list[bool] = []
    cache: LocalCache[str, object] = LocalCache(5, on_lookup=lookups.append)
    for value in (False, 0, "", ()):
        cache.put("key", value)
        assert cache.get("key") == value
    assert cache.get("another") is None
    assert lookups == [True, True, True, True, False]


def test_clearing_forgets_everything() -> None:
    cache: LocalCache[str, int] = LocalCache(2)
    cache.put("a", 1)
    cache.clear()
    assert cache.get("a") is None
    assert len(cache) == 0


def test_it_stays_bounded_and_right_under_threads() -> None:
    cache: LocalCache[int, str] = LocalCache(16)

    def run(thread: int) -> None:
        for number in range(3000):
            key = (number * 7 + thread) % 40
            cache.put(key, str(key))
            assert cache.get((key + 1) % 40) in {None, str((key + 1) % 40)}
            if number % 500 == 0:
                cache.clear()
            assert len(cache) <= 17, "one may be on its way out"

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(run, thread) for thread in range(8)]:
            done.result()
