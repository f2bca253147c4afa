"""Two versions of the server on one Redis, as in a rolling upgrade: each leaves alone what it does not know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from app.audit.shared import RedisSharedTrail
from app.errors import Unauthenticated
from app.model import Grant, Principal
from app.notify.presence import Connection
from app.notify.wire import Ack
from devstack.issuer import LocalIssuer
from devstack.valkey import Valkey
from tests.serving import Serving, serving, serving_origin
from tests.support import eventually
from tests.valkeys import valkey

__all__ = ["valkey"]

OURS, THEIRS = "{cfg:default}:1:", "{cfg:default}:2:"
ADA = Principal("https://issuer", "ada", (Grant("view"),), expires_at=4e9)


@pytest.fixture
def server(tmp_path: Path, issuer: LocalIssuer, valkey: Valkey) -> Iterator[Serving]:
    """A server that has put everything into Redis that it ever puts there (but for versions of secrets)."""
    with valkey.client as client:
        client.flushall()
    (tmp_path / "key").write_text("k" * 32)
    settings: dict[str, Any] = {"redis_url": valkey.url, "key_file": tmp_path / "key"}
    with serving(tmp_path, issuer, {"pay.yml": "a: 1\n"}, **settings) as running:
        services = running.server.services
        assert running.config("pay/prod") == {"a": 1}
        stream = Connection("c1", "sse", "ada", "127.0.0.1", "2026-01-01T00:00:00Z")
        assert services.presence.arrive(stream, "instance")
        services.presence.subscribed("c1", ["pay/prod/main"])
        services.presence.flush()
        assert services.presence.acknowledge_for("c1", "ada", Ack("1-0.1", "pay/prod/main", "e", "applied"))
        services.revoke("jti", issuer.url, "stolen")
        yield running


@pytest.fixture
def raw(valkey: Valkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey.url) as client:
        yield client


def kinds(client: redis.Redis) -> set[str]:
    """The names of keys, but for the ids in them; every one must be of this version."""
    names = [key.decode() for key in client.scan_iter("*")]
    assert [name for name in names if not name.startswith(OURS)] == []
    rests = [name.removeprefix(OURS) for name in names]
    return {rest.split(":")[0] if rest.startswith(("effective:", "leases:", "ticket:")) else rest for rest in rests}


def upgrade(client: redis.Redis) -> None:
    """What a later version may leave: keys of its own, and, where it is careless, entries among ours."""
    future = json.dumps({"v": 2, "what": ["nobody", "knows"]})
    for key in list(client.scan_iter("*")):
        client.set(key.decode().replace(OURS, THEIRS), future)
        if client.type(key) == b"hash":
            client.hset(key, mapping={"future": future, "c1 future": future, "junk": b"\xff["})
        elif client.type(key) == b"zset":
            client.zadd(key, {b"future": 4e9, b"\xff": 4e9})
        else:
            client.set(key, future)


def test_every_key_and_every_message_bears_the_version_of_its_schema(server: Serving, raw: redis.Redis) -> None:
    server.server.services.tickets.issue(ADA, None)
    with raw.pubsub() as pubsub:  # type: ignore[no-untyped-call]  # redis-py leaves it unannotated
        pubsub.psubscribe("*")
        server.push({"pay.yml": "a: 2\n"})
        server.server.services.bus.hint()
        heard = [eventually(lambda: pubsub.get_message(ignore_subscribe_messages=True)) for _ in range(3)]
    assert all(message["channel"].decode().startswith(OURS) for message in heard)
    assert [json.loads(message["data"])["v"] for message in heard] == [1, 1, 1]
    names = {"default:cursor", "default:labels", "streams", "streams:ends", "streams:acks", "revocations"}
    assert kinds(raw) >= names | {"effective", "leases", "ticket"}


def test_what_another_version_wrote_is_ignored_and_nothing_fails(server: Serving, raw: redis.Redis) -> None:
    services = server.server.services
    ticket = services.tickets.issue(ADA, None)
    upgrade(raw)

    with capture_logs() as lines:
        raw.publish(f"{OURS}default:bus", json.dumps({"v": 2, "hint": {"fetch": "all"}}))
        raw.publish(f"{OURS}default:bus", b"\xff")
        with pytest.raises(Unauthenticated):
            services.tickets.redeem(ticket, None)
        server.push({"pay.yml": "a: 2\n"})
        assert server.config("pay/prod") == {"a": 2}
        listed = server.ask("/v1/admin/instances", token=server.token("config:view")).json()
        services.presence.flush(everything=True)
        services.revoke("jti", server.issuer.url, "another")

    assert [each["connection"] for each in listed["instances"]] == ["c1"]
    assert [line for line in lines if line["log_level"] in {"error", "critical"}] == []
    theirs = [raw.get(key) for key in raw.scan_iter("{cfg:default}:2:*")]
    assert theirs
    assert {json.loads(text or "{}").get("v") for text in theirs} == {2}
    assert server.ask("/v1/config/pay/prod", token=server.token(jti="stolen")).status_code == 401


def test_a_record_of_another_version_is_none_of_the_trail(server: Serving, raw: redis.Redis) -> None:
    record = {"chain": "worker-0", "seq": 1, "action": "from the future", "time": "2030-01-01T00:00:00.000Z"}
    raw.xadd(f"{OURS}audit", {"v": "2", "host": "h", "record": json.dumps(record)})
    raw.xadd(f"{OURS}audit", {"v": "1", "host": "h", "record": json.dumps({**record, "action": "of today"})})
    link = server.server.services.link
    assert link is not None
    page = RedisSharedTrail(link, lambda: "h", records=100).page("+", 10)
    assert [json.loads(line)["action"] for _, host, line in page if host == "h" and line] == ["of today"]


def test_a_second_server_starts_on_what_another_version_has_left(
    server: Serving, raw: redis.Redis, tmp_path: Path, issuer: LocalIssuer, valkey: Valkey
) -> None:
    upgrade(raw)
    settings: dict[str, Any] = {"redis_url": valkey.url, "key_file": tmp_path / "key"}
    with serving_origin(tmp_path / "second", issuer, server.origin, **settings) as second:
        assert second.config("pay/prod") == {"a": 1}
