"""What only the shared store can suffer: damage, other schemas, loss, and Redis being away."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import redis

from app.cache import RedisLink
from app.errors import BusUnavailable
from app.model import RefKind, SecretPath
from app.notify import Cursor, LabelHead, LocalCursorStore, RedisCursorStore, Rev
from app.secrets import Known
from devstack.valkey import Valkey
from tests.notify.values import AT, DATABASE, EPOCH, commit, cursor, head, seeded, standing
from tests.valkeys import MakeLink

DAMAGE: dict[str, bytes] = {
    "another schema": json.dumps({**head(2).as_json(), "v": 2}).encode(),
    "no json": b"{",
    "a list": b"[]",
    "null": b"null",
    "empty": b"",
    "no text": b"\xff\xfe",
    "too deep": b"[" * 5000,
    "no seq": json.dumps({name: value for name, value in head(2).as_json().items() if name != "seq"}).encode(),
    "seq is text": json.dumps({**head(2).as_json(), "seq": "7"}).encode(),
    "commit is an option": json.dumps({**head(2).as_json(), "head": "--output=x"}).encode(),
    "commit is short": json.dumps({**head(2).as_json(), "head": "abc"}).encode(),
    "unknown kind": json.dumps({**head(2).as_json(), "kind": "stash"}).encode(),
    "former is a text": json.dumps({**head(2).as_json(), "former": "x"}).encode(),
    "time is a number": json.dumps({**head(2).as_json(), "at": 7}).encode(),
}


@pytest.fixture
def shared(link: RedisLink) -> RedisCursorStore:
    return RedisCursorStore(link, "default")


@pytest.fixture
def raw(valkey: Valkey) -> redis.Redis:
    """Somebody else's hands in the same Redis."""
    return redis.Redis.from_url(valkey.url)


def key(link: RedisLink, name: str) -> str:
    return link.key(f"default:{name}")


def reread(link: RedisLink) -> Cursor | None:
    """As a worker reads that has just started."""
    return RedisCursorStore(link, "default").read()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_label_counts_as_absent_and_the_next_announcement_mends_it(
    shared: RedisCursorStore, link: RedisLink, raw: redis.Redis, damage: bytes
) -> None:
    seeded(shared, main=head(1), other=head(7))
    raw.hset(key(link, "labels"), "main", damage)
    seen = reread(link)
    assert seen is not None
    assert set(seen.labels) == {"other"}
    assert shared.announce(seen, "main", head(2))
    mended = standing(shared)
    assert mended.labels == {"main": head(2, seq=2), "other": head(7)}


def test_former_heads_that_cannot_be_read_are_left_out(
    shared: RedisCursorStore, link: RedisLink, raw: redis.Redis
) -> None:
    seeded(shared)
    former = [[commit(3), AT], ["--output=x", AT], [commit(4)], 5, [6, 7]]
    raw.hset(key(link, "labels"), "main", json.dumps({**head(2).as_json(), "former": former}))
    seen = reread(link)
    assert seen is not None
    assert [each.commit for each in seen.labels["main"].former] == [commit(3)]


@pytest.mark.parametrize("damage", [b"{}", b"[", b"", b"[1]", b'["1","",false]', b'{"v":2}', b"\xff", b"null"])
def test_a_damaged_version_of_a_secret_counts_as_absent_and_the_next_adoption_mends_it(
    shared: RedisCursorStore, link: RedisLink, raw: redis.Redis, damage: bytes
) -> None:
    seeded(shared)
    raw.hset(key(link, "secrets"), str(DATABASE), damage)
    raw.hset(key(link, "secrets"), b"kv/\xff", b'[1, "", false]')
    assert shared.in_use() == {}
    seen = reread(link)
    assert seen is not None
    assert seen.secrets == {}
    assert shared.adopt(EPOCH, DATABASE, Known(9)) == Known(9)
    assert shared.in_use() == {DATABASE: Known(9)}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seq", b"many"),
        ("seq", b"-1"),
        ("seq", b"9" * 30),
        ("seq", None),
        ("epoch", b""),
        ("epoch", b"\xff"),
        ("epoch", None),
        ("default", None),
    ],
)
def test_a_damaged_cursor_counts_as_an_emptied_store_and_can_be_seeded_anew(
    shared: RedisCursorStore, link: RedisLink, raw: redis.Redis, field: str, value: bytes | None
) -> None:
    before = seeded(shared)
    if value is None:
        raw.hdel(key(link, "cursor"), field)
    else:
        raw.hset(key(link, "cursor"), field, value)
    assert reread(link) is None
    assert not shared.announce(before, "main", head(2))
    assert not shared.rotate(EPOCH, DATABASE, Known(3), Known(4))
    again = cursor(epoch="2-00000000")
    assert shared.seed(None, again)
    assert shared.read() == again


def test_labels_that_were_lost_are_announced_again(shared: RedisCursorStore, link: RedisLink, raw: redis.Redis) -> None:
    seeded(shared)
    raw.delete(key(link, "labels"))
    seen = reread(link)
    assert seen is not None
    assert seen.labels == {}
    assert shared.announce(seen, "main", head(1))
    assert standing(shared).labels == {"main": head(1, seq=2)}


def test_keys_are_namespaced_versioned_and_in_one_slot_of_a_cluster(
    shared: RedisCursorStore, link: RedisLink, raw: redis.Redis
) -> None:
    seeded(shared)
    prefix = link.key("")
    assert prefix.startswith("{cfg:")
    assert prefix.endswith("}:1:")
    found = {name.decode() for name in raw.scan_iter(f"{prefix}*")}
    assert found == {f"{prefix}default:{part}" for part in ("cursor", "labels", "secrets")}
    assert shared.channel.startswith(prefix)


def test_repositories_and_namespaces_do_not_meet(valkey: Valkey, link: RedisLink, shared: RedisCursorStore) -> None:
    seeded(shared)
    assert RedisCursorStore(link, "another").read() is None
    elsewhere = RedisLink(valkey.url, namespace="elsewhere", timeout=5, pause=1)
    assert RedisCursorStore(elsewhere, "default").read() is None
    elsewhere.close()


def test_reading_what_did_not_move_asks_for_the_rev_alone(
    shared: RedisCursorStore, raw: redis.Redis, link: RedisLink
) -> None:
    first = seeded(shared)
    assert shared.read() is first
    raw.hset(key(link, "cursor"), "seq", 2)
    assert shared.read() is not first


def test_an_emptied_store_is_behind_what_was_seen(own_valkey: Valkey, make_link: MakeLink) -> None:
    store = RedisCursorStore(make_link(own_valkey, timeout=5.0), "default")
    seeded(store)
    own_valkey.restart(empty=True)
    assert store.read() is None
    assert store.seed(None, cursor(epoch="2-00000000"))
    assert not standing(store).is_behind(Rev(EPOCH, 1))


def test_a_store_restored_from_an_older_copy_is_behind_what_was_seen(own_valkey: Valkey, make_link: MakeLink) -> None:
    store = RedisCursorStore(make_link(own_valkey, timeout=5.0), "default")
    before = seeded(store)
    copy = own_valkey.save()
    assert store.announce(before, "main", head(2))
    seen = standing(store).rev
    own_valkey.restore(copy)
    restored = standing(store)
    assert restored.rev == before.rev
    assert restored.is_behind(seen)
    assert restored.labels["main"].commit == commit(1)


@pytest.mark.parametrize("method", ["read", "seed", "announce", "adopt", "in_use", "rotate"])
def test_every_method_says_so_when_redis_is_away(own_valkey: Valkey, make_link: MakeLink, method: str) -> None:
    store = RedisCursorStore(make_link(own_valkey), "default")
    own_valkey.stop()
    calls: dict[str, Callable[[], object]] = {
        "read": lambda: store.read(),
        "seed": lambda: store.seed(None, cursor()),
        "announce": lambda: store.announce(cursor(), "main", head(2)),
        "adopt": lambda: store.adopt(EPOCH, DATABASE, Known(1)),
        "in_use": lambda: store.in_use(),
        "rotate": lambda: store.rotate(EPOCH, DATABASE, Known(1), Known(2)),
    }
    with pytest.raises(BusUnavailable):
        calls[method]()


def test_a_store_that_takes_no_writes_says_so_and_can_still_be_read(own_valkey: Valkey, make_link: MakeLink) -> None:
    store = RedisCursorStore(make_link(own_valkey, timeout=5.0, pause=60), "default")
    before = seeded(store)
    with own_valkey.client as client:
        client.config_set("maxmemory", 1)
    with pytest.raises(BusUnavailable):
        store.announce(before, "main", head(2))
    assert store.read() == before


def test_the_local_store_tells_of_every_move_and_of_nothing_else() -> None:
    moves: list[Rev] = []

    def on_move() -> None:
        moves.append(standing(store).rev)

    store = LocalCursorStore(on_move=on_move)
    before = seeded(store)
    assert not store.seed(None, cursor())
    assert store.announce(before, "main", LabelHead(RefKind.BRANCH, commit(2), 0, AT))
    assert store.announce(before, "main", head(2))
    assert store.adopt(EPOCH, SecretPath("kv", "new"), Known(1)) == Known(1)
    assert store.rotate(EPOCH, DATABASE, Known(3), Known(4))
    assert moves == [Rev(EPOCH, 1), Rev(EPOCH, 2), Rev(EPOCH, 3)]
