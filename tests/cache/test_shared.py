"""The shared cache: what somebody else wrote, or moved, or cut in Redis is as if it were not there."""

from __future__ import annotations

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.cache import NoSharedCache, RedisLink, RedisSharedCache, SharedCache
from devstack.valkey import Valkey
from tests.valkeys import MakeLink

KEY, OTHER = "content-one", "content-two"
VALUE = b'{"a": 1}'
MAC_KEY = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def cache(link: RedisLink) -> RedisSharedCache:
    return RedisSharedCache(link, mac_key=MAC_KEY)


@pytest.fixture
def raw(valkey: Valkey) -> redis.Redis:
    return redis.Redis.from_url(valkey.url)


def name(link: RedisLink, key: str) -> str:
    return link.key(f"effective:{key}")


def stored(raw: redis.Redis, link: RedisLink, key: str = KEY) -> bytes:
    found = raw.get(name(link, key))
    assert isinstance(found, bytes)
    return found


def test_what_one_worker_puts_another_gets(cache: RedisSharedCache, link: RedisLink) -> None:
    assert cache.get(KEY) is None
    cache.put(KEY, VALUE)
    cache.put(OTHER, b"")
    twin = RedisSharedCache(link, mac_key=MAC_KEY)
    assert twin.get(KEY) == VALUE
    assert twin.get(OTHER) == b""


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=30, deadline=None
)
@given(st.binary(max_size=300))
def test_any_bytes_come_back_as_they_were(cache: RedisSharedCache, value: bytes) -> None:
    cache.put(KEY, value)
    assert cache.get(KEY) == value


def test_an_entry_is_forgotten_after_a_while(link: RedisLink, raw: redis.Redis) -> None:
    RedisSharedCache(link, mac_key=MAC_KEY, ttl=60).put(KEY, VALUE)
    assert 0 < int(raw.ttl(name(link, KEY))) <= 60


def test_every_changed_byte_is_noticed(cache: RedisSharedCache, link: RedisLink, raw: redis.Redis) -> None:
    cache.put(KEY, VALUE)
    good = stored(raw, link)
    for at in range(len(good)):
        raw.set(name(link, KEY), good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert cache.get(KEY) is None
    raw.set(name(link, KEY), good)
    assert cache.get(KEY) == VALUE


def test_a_value_that_was_cut_or_extended_is_refused(
    cache: RedisSharedCache, link: RedisLink, raw: redis.Redis
) -> None:
    cache.put(KEY, VALUE)
    good = stored(raw, link)
    for text in (b"", good[:10], good[:32], good[:-1], good + b" ", VALUE):
        raw.set(name(link, KEY), text)
        assert cache.get(KEY) is None


def test_another_keys_value_is_refused_under_this_key(
    cache: RedisSharedCache, link: RedisLink, raw: redis.Redis
) -> None:
    cache.put(OTHER, VALUE)
    raw.set(name(link, KEY), stored(raw, link, OTHER))
    assert cache.get(KEY) is None


def test_the_end_of_a_key_is_no_beginning_of_a_value(
    cache: RedisSharedCache, link: RedisLink, raw: redis.Redis
) -> None:
    cache.put("a\0b", b"c")
    mac = stored(raw, link, "a\0b")[:32]
    raw.set(name(link, "a"), mac + b"b\0c")
    assert cache.get("a") is None


def test_a_value_under_another_servers_key_is_refused(cache: RedisSharedCache, link: RedisLink) -> None:
    RedisSharedCache(link, mac_key=b"f" * 32).put(KEY, VALUE)
    assert cache.get(KEY) is None


def test_a_thing_of_another_kind_is_a_miss_and_harms_nobody_else(
    cache: RedisSharedCache, link: RedisLink, raw: redis.Redis
) -> None:
    raw.lpush(name(link, KEY), "a list")
    assert cache.get(KEY) is None
    cache.put(OTHER, VALUE)
    assert cache.get(OTHER) == VALUE


def test_a_full_redis_takes_nothing_and_still_gives(own_valkey: Valkey, make_link: MakeLink) -> None:
    cache = RedisSharedCache(make_link(own_valkey, timeout=5.0, pause=60), mac_key=MAC_KEY)
    cache.put(KEY, VALUE)
    with own_valkey.client as client:
        client.config_set("maxmemory", 1)
    cache.put(OTHER, VALUE)
    assert cache.get(OTHER) is None
    assert cache.get(KEY) == VALUE


def test_without_redis_everything_is_a_miss_and_nothing_an_error(own_valkey: Valkey, make_link: MakeLink) -> None:
    cache = RedisSharedCache(make_link(own_valkey), mac_key=MAC_KEY)
    own_valkey.stop()
    cache.put(KEY, VALUE)
    assert cache.get(KEY) is None


def test_the_null_cache_keeps_nothing() -> None:
    cache: SharedCache = NoSharedCache()
    cache.put(KEY, VALUE)
    assert cache.get(KEY) is None
