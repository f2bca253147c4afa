"""Two versions of the server on one Redis, as in a rolling upgrade: each leaves alone what it does not know."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from structlog.testing import capture_logs

from app.audit.shared import RedisSharedTrail
from app.errors import Unauthenticated
from app.model import Grant, Principal
from app.notify.presence import Connection
from app.notify.wire import Ack
from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.valkey import Valkey
from tests.hooks.forges import SECRET, github, payload
from tests.notices.receiver import SECRET as NOTICE_SECRET
from tests.notices.receiver import Receiver
from tests.serving import Serving, serving, serving_origin
from tests.support import eventually
from tests.valkeys import valkey

__all__ = ["valkey"]

OURS, THEIRS = "{cfg:default}:1:", "{cfg:default}:2:"
#: Keys with an id in their name.
NAMED = ("effective:", "failed:", "hook:", "leases:", "notice:", "ticket:")
ADA = Principal("https://issuer", "ada", (Grant("view"),), expires_at=4e9)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, bao: Bao, valkey: Valkey, receiver: Receiver) -> dict[str, Any]:
    (tmp_path / "key").write_text("k" * 32)
    return {
        "redis_url": valkey.url,
        "key_file": tmp_path / "key",
        "vault": bao,
        "webhook_secret": SECRET,
        "notice_urls": (receiver.url,),
        "notice_secret": NOTICE_SECRET,
    }


@pytest.fixture
def server(
    tmp_path: Path, issuer: LocalIssuer, bao: Bao, valkey: Valkey, settings: dict[str, Any]
) -> Iterator[Serving]:
    """A server that has put everything into Redis that it ever puts there."""
    with valkey.client as client:
        client.flushall()
    bao.put("services/shop/prod/versions", {"password": "first"})
    files = {"pay.yml": "a: 1\n", "shop.yml": "password: ${vault:kv/services/shop/prod/versions#password}\n"}
    with serving(tmp_path, issuer, files, **settings) as running:
        services = running.server.services
        assert running.config("pay/prod") == {"a": 1}
        assert running.config("shop/prod") == {"password": "first"}
        assert running.ask("/v1/config/pay/prod", token="forged").status_code == 401
        assert hook(running, "before the upgrade") == "accepted"
        running.push({"more.yml": ""})
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


def hook(server: Serving, after: str) -> str:
    """A webhook of a push to a commit that is named by its text; what the server says of it."""
    body = payload("github", before="b" * 40, after=hashlib.sha1(after.encode()).hexdigest())
    answer = server.ask("/hooks/git", method="POST", token="", content=body, headers=github(body))
    assert answer.status_code == 202
    said: str = answer.json()["status"]
    return said


def kinds(client: redis.Redis) -> set[str]:
    """The names of keys, but for the ids in them; every one must be of this version."""
    names = [key.decode() for key in client.scan_iter("*")]
    assert [name for name in names if not name.startswith(OURS)] == []
    rests = [name.removeprefix(OURS) for name in names]
    return {rest.split(":")[0] if rest.startswith(NAMED) else rest for rest in rests}


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
    names = {"default:cursor", "default:labels", "default:secrets", "streams", "streams:ends", "streams:acks"}
    names |= {"audit", "audit:heads", "revocations", *(name.rstrip(":") for name in NAMED)}
    eventually(lambda: kinds(raw) == names)


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
    server: Serving, raw: redis.Redis, tmp_path: Path, issuer: LocalIssuer, settings: dict[str, Any]
) -> None:
    upgrade(raw)
    with serving_origin(tmp_path / "second", issuer, server.origin, **settings) as second:
        assert second.config("pay/prod") == {"a": 1}
        assert second.config("shop/prod") == {"password": "first"}


def test_a_rotation_is_announced_among_versions_of_secrets_that_nobody_knows(
    server: Serving, raw: redis.Redis, bao: Bao
) -> None:
    upgrade(raw)
    bao.put("services/shop/prod/versions", {"password": "second"})
    assert server.server.services.secret_watch.tick() >= 1
    eventually(lambda: server.config("shop/prod") == {"password": "second"})
    known = {name.decode() for name in cast("dict[bytes, bytes]", raw.hgetall(f"{OURS}default:secrets"))}
    assert known == {"kv/services/shop/prod/versions", "future", "c1 future", "junk"}


def test_leases_and_attempts_of_another_version_turn_nobody_away(server: Serving, raw: redis.Redis) -> None:
    upgrade(raw)
    for key in raw.scan_iter(f"{OURS}leases:*"):
        raw.set(key, "no set at all")
    presence = server.server.services.presence
    for number in range(2, 5):
        stream = Connection(f"c{number}", "sse", "ada", "127.0.0.1", "2026-01-01T00:00:00Z")
        assert presence.arrive(stream, "instance")
    assert server.ask("/v1/config/pay/prod", token="forged").status_code == 401
    assert server.config("pay/prod") == {"a": 1}


def test_what_is_done_once_is_done_once_by_each_version(
    server: Serving,
    raw: redis.Redis,
    tmp_path: Path,
    issuer: LocalIssuer,
    settings: dict[str, Any],
    receiver: Receiver,
) -> None:
    """What another version has noted is unknown here; a note of ours counts, whatever somebody wrote into it."""
    (ours,) = eventually(lambda: list(raw.scan_iter(f"{OURS}hook:*")))
    assert hook(server, "by another version alone") == "accepted"
    (theirs,) = eventually(lambda: [key for key in raw.scan_iter(f"{OURS}hook:*") if key != ours])
    upgrade(raw)
    written = raw.get(ours)
    raw.delete(theirs)
    with serving_origin(tmp_path / "second", issuer, server.origin, **settings) as second:
        assert hook(second, "before the upgrade") == "accepted"  # and then found to be said: see Redis
        assert hook(second, "by another version alone") == "accepted"
        assert eventually(lambda: raw.get(theirs)) == b"1"
        assert raw.get(ours) == written
        commit = second.push({"pay.yml": "a: 3\n"})
        eventually(lambda: server.config("pay/prod") == {"a": 3})
        eventually(lambda: told(receiver, commit) == 1)
    assert told(receiver, commit) == 1


def told(receiver: Receiver, commit: str) -> int:
    return len([each for each in receiver.of("label.moved") if each.notice["data"]["commit"] == commit])
