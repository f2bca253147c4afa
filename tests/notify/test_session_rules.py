"""What ends a stream, and what keeps it: tokens in band, revocation, limits, age, drain, resuming by digest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from app.errors import Unauthenticated
from app.model import Principal
from app.notify.wire import Subscribe
from app.streams import Close
from devstack.bao import Bao
from tests.notify.stage import Conversation, Stage, ada

PAY, SHOP = "pay/prod/main", "shop/prod/main"
Told = Iterator[dict[str, Any] | Close]


def begun(client: Conversation, *topics: str) -> Told:
    """The stream, after what it says first of these topics."""
    told = client.run(Subscribe(dict.fromkeys(topics)))
    assert len(list(islice(told, 3 + len(topics)))) == 3 + len(topics)
    return told


def auth(token: str = "new") -> dict[str, Any]:
    return {"type": "auth", "token": token}


def verifying(**principals: Principal) -> Callable[[str], Principal]:
    def verify(token: str) -> Principal:
        if token not in principals:
            raise Unauthenticated("the token is malformed")
        return principals[token]

    return verify


def ending(told: Told) -> list[Any]:
    return [item if isinstance(item, Close) else item.get("code", item["type"]) for item in told]


# Tokens


def test_who_is_warned_and_does_nothing_ends_with_its_token(stage: Stage) -> None:
    limits = replace(stage.services.stream_limits, expiry_warning=0.8)
    started = time.monotonic()
    told = begun(stage.connect(lifetime=1.0, limits=limits), PAY)
    warning, goodbye, close = told
    assert isinstance(warning, dict)
    assert warning["type"] == "auth_expiring"
    assert 0 < warning["in_ms"] <= 800
    assert isinstance(goodbye, dict)
    assert goodbye["code"] == 4401
    assert close == Close(4401, "the token has expired")
    assert time.monotonic() - started < 9, "the heartbeat is a minute away"


def test_a_new_token_in_band_extends_the_stream(stage: Stage) -> None:
    limits = replace(stage.services.stream_limits, expiry_warning=0.8)
    client = stage.connect(lifetime=1.0, limits=limits, heartbeat=0.1, verify=verifying(new=ada(lifetime=600)))
    end = time.monotonic() + 1.0
    told = begun(client, PAY)
    seen = [next(told)]
    while not (isinstance(seen[-1], dict) and seen[-1]["type"] == "auth_expiring"):
        seen.append(next(told))
    client.say(auth())
    while time.monotonic() < end + 0.2:
        beat = next(told)
        assert isinstance(beat, dict)
        assert beat["type"] == "sync", "neither another warning nor the end"


def test_a_token_that_is_no_good_is_told_and_changes_nothing(stage: Stage) -> None:
    client = stage.connect(verify=verifying())
    told = begun(client, PAY)
    client.say(auth("bad"))
    assert next(told) == {"type": "error", "code": "unauthenticated", "retry": False}
    stage.push({"pay.yml": "db:\n  pool: 6\n"})
    assert [item["type"] for item in islice(told, 2) if isinstance(item, dict)] == ["change", "sync"]


@pytest.mark.parametrize(
    "other", [{"subject": "bob"}, {"issuer": "https://other.example"}, {"service": "pay"}, {"env": "dev"}], ids=str
)
def test_the_token_of_somebody_else_ends_the_stream(stage: Stage, other: dict[str, Any]) -> None:
    client = stage.connect(verify=verifying(new=ada(**other)))
    told = begun(client, PAY)
    client.say(auth())
    assert ending(told) == [4403, Close(4403, "the token is another client's")]


def test_narrower_grants_count_at_once(stage: Stage) -> None:
    client = stage.connect(verify=verifying(new=ada("config:read:pay")))
    told = begun(client, PAY, SHOP)
    client.say(auth())
    assert next(told) == {"type": "error", "code": "forbidden", "topic": SHOP, "retry": False}
    stage.push({"shop.yml": "colour: blue\n", "pay.yml": "db:\n  pool: 6\n"})
    change, sync = islice(told, 2)
    assert isinstance(change, dict)
    assert isinstance(sync, dict)
    assert (change["topic"], sync["type"]) == (PAY, "sync")
    assert [target.topic for target in client.session.targets] == [PAY]


def test_a_token_that_covers_nothing_of_it_ends_the_stream(stage: Stage) -> None:
    client = stage.connect(verify=verifying(new=ada("config:read:other")))
    told = begun(client, PAY, SHOP)
    client.say(auth())
    assert ending(told)[-2:] == [4403, Close(4403, "no grant of the new token covers what was followed")]


def test_another_view_is_told_although_the_etag_is_the_same(stage: Stage) -> None:
    client = stage.connect(verify=verifying(new=ada("config:view")))
    told = begun(client, PAY)
    client.say(auth())
    stage.push({"pay.yml": "db:\n  pool: 6\n"})
    change, sync = islice(told, 2)
    assert isinstance(change, dict)
    assert isinstance(sync, dict)
    assert (change["op"], sync["type"]) == ("put", "sync")


def test_a_revoked_token_ends_its_stream_at_once_and_no_other(stage: Stage) -> None:
    one = stage.connect()
    two = Conversation(stage.services.streams, ada(subject="bob", token_id="j2"))
    told, others = begun(one, PAY), begun(two, PAY)
    stage.services.revocations.revoke("jti", "https://issuer.example", "j1", time.time() + 60)
    assert ending(told) == [4401, Close(4401, "the token has been revoked")]
    stage.push({"pay.yml": "db:\n  pool: 6\n"})
    assert [item["type"] for item in islice(others, 2) if isinstance(item, dict)] == ["change", "sync"]


# Limits


def test_the_twenty_first_message_in_ten_seconds_ends_the_stream(stage: Stage) -> None:
    client = stage.connect()
    told = begun(client, PAY)
    client.say(*[{"type": "unsubscribe", "topics": ["never/followed/main"]}] * 21)
    assert ending(told) == [4502, Close(4502, "too many messages")]


def test_as_many_messages_as_may_come_are_answered(stage: Stage) -> None:
    limits = replace(stage.services.stream_limits, inbound=3, inbound_seconds=0.2)
    client = stage.connect(limits=limits)
    told = begun(client, PAY)
    for _ in range(3):
        client.say(*[{"type": "subscribe", "topics": [{"name": PAY}]}] * 3)
        kinds = [item["type"] for item in islice(told, 9) if isinstance(item, dict)]
        assert kinds == ["subscribed", "change", "sync"] * 3
        until = time.monotonic() + 0.2
        while time.monotonic() < until:  # not a wait for something: the time itself is the matter
            time.sleep(0.02)


def test_a_stream_of_a_certain_age_is_asked_to_come_again(stage: Stage) -> None:
    limits = replace(stage.services.stream_limits, max_age=0.5)
    started = time.monotonic()
    told = begun(stage.connect(limits=limits), PAY)
    assert ending(told) == [1012, Close(1012, "the stream has reached its age")]
    assert 0.4 <= time.monotonic() - started < 9, "the heartbeat is a minute away"


def test_an_instance_that_names_itself_in_a_frame_is_held_to_its_limit(stage: Stage) -> None:
    clients = [stage.connect() for _ in range(5)]
    streams = [client.run(Subscribe({PAY: None}, client={"instance": "pay-7f", "version": "1"})) for client in clients]
    for told in streams[:4]:
        assert [item["type"] for item in islice(told, 4) if isinstance(item, dict)][-1] == "sync"
    assert ending(streams[4]) == ["hello", 4502, Close(4502, "this instance holds as many streams as it may")]
    clients[0].leave()
    again = stage.connect().run(Subscribe({PAY: None}, client={"instance": "pay-7f"}))
    assert [item["type"] for item in islice(again, 4) if isinstance(item, dict)][-1] == "sync"


def test_a_drain_is_spread_and_changes_are_told_until_it_is_ones_turn(stage: Stage) -> None:
    streams = [begun(stage.connect(), PAY) for _ in range(10)]
    stage.push({"pay.yml": "db:\n  pool: 6\n"})
    started = time.monotonic()
    stage.services.drain()
    seen = [ending(told) for told in streams]
    assert time.monotonic() - started < 9, "the heartbeat is a minute away"
    assert any(each[:2] == ["change", "sync"] for each in seen)
    assert all(each[-2:] == [1012, Close(1012, "the worker restarts")] for each in seen)


def test_an_end_that_cannot_wait_is_told_to_all_at_once(stage: Stage) -> None:
    limits = replace(stage.services.stream_limits, drain_seconds=600)
    streams = [begun(stage.connect(limits=limits), PAY) for _ in range(5)]
    stage.services.drain()
    stage.services.notifier.drain(at_once=True)
    started = time.monotonic()
    assert all(ending(told)[-1] == Close(1012, "the worker restarts") for told in streams)
    assert time.monotonic() - started < 9


# Acks


def test_an_ack_is_noted_for_the_operator(stage: Stage) -> None:
    client = stage.connect()
    told = begun(client, PAY)
    client.say(
        {"type": "ack", "rev": "r", "topic": PAY, "etag": "e", "status": "rejected", "reason": "no"},
        {"type": "unsubscribe", "topics": ["no/such/topic"]},
        {"type": "subscribe", "topics": [{"name": PAY}], "client": {"instance": "pay-7f", "version": "1.2"}},
    )
    assert next(told)
    stage.services.presence.flush()
    (record,) = stage.services.presence.all()
    assert (record["instance"], record["version"], record["topics"]) == ("pay-7f", "1.2", [PAY])
    assert (record["acks"][PAY]["status"], record["acks"][PAY]["reason"]) == ("rejected", "no")


# Resuming by digest


def test_who_shows_the_digest_of_all_it_would_be_told_is_told_nothing(stage: Stage) -> None:
    former = stage.connect()
    former.subscribe(PAY, SHOP)
    told = stage.connect().resume({SHOP: None, "pay/prod": None}, digest=former.session.digest())
    assert [frame["type"] for frame in told] == ["subscribed", "sync"]
    assert told[0]["mode"] == "none"


@pytest.mark.parametrize("digest", ["", "0" * 16, "grüße", "x" * 600])
def test_a_digest_of_anything_else_is_worth_nothing(stage: Stage, digest: str) -> None:
    told = stage.connect().resume({PAY: None}, digest=digest)
    assert [frame["type"] for frame in told] == ["subscribed", "change", "sync"]


def test_a_digest_of_other_topics_or_of_former_times_is_worth_nothing(stage: Stage) -> None:
    former = stage.connect()
    former.subscribe(PAY)
    assert len(stage.connect().resume({PAY: None, SHOP: None}, digest=former.session.digest())) == 4
    stage.push({"pay.yml": "db:\n  pool: 6\n"})
    assert len(stage.connect().resume({PAY: None}, digest=former.session.digest())) == 3


def test_who_resumes_by_digest_is_told_of_the_next_change(stage: Stage) -> None:
    former = stage.connect()
    former.subscribe(PAY)
    client = stage.connect()
    client.resume({PAY: None}, digest=former.session.digest())
    stage.push({"pay.yml": "db:\n  pool: 6\n"})
    assert [frame["type"] for frame in client.due()] == ["change", "sync"]


def test_who_has_seen_more_elsewhere_is_told_nothing_older(stage: Stage) -> None:
    """And what it says meanwhile is done after that, in its order."""
    epoch, _, number = stage.rev.rpartition(".")
    ahead = f"{epoch}.{int(number) + 1}"
    client = stage.connect(limits=replace(stage.services.stream_limits, catch_up=60))
    told = client.run(Subscribe({PAY: None}, since=ahead))
    assert [item["type"] for item in islice(told, 1) if isinstance(item, dict)] == ["hello"]
    client.say({"type": "unsubscribe", "topics": [PAY]}, {"type": "subscribe", "topics": [{"name": SHOP}]})
    pushed = threading.Timer(0.2, stage.push, [{"pay.yml": "db:\n  pool: 6\n"}])
    pushed.start()
    _, change, sync, subscribed, _, _ = islice(told, 6)
    pushed.join()
    assert isinstance(change, dict)
    assert isinstance(sync, dict)
    assert isinstance(subscribed, dict)
    assert (change["doc"]["db"]["pool"], sync["rev"]) == (6, ahead)
    assert subscribed["topics"] == [SHOP]
    assert [target.topic for target in client.session.targets] == [SHOP]


def test_who_claims_to_have_seen_what_nobody_has_waits_as_long_as_anybody_would(stage: Stage) -> None:
    epoch, _, number = stage.rev.rpartition(".")
    client = stage.connect(limits=replace(stage.services.stream_limits, catch_up=0.3))
    began = time.monotonic()
    told = client.run(Subscribe({PAY: None}, since=f"{epoch}.{int(number) + 1_000_000}"))
    assert [item["type"] for item in islice(told, 4) if isinstance(item, dict)] == [
        "hello",
        "subscribed",
        "change",
        "sync",
    ]
    assert 0.3 <= time.monotonic() - began < 9, "the heartbeat is a minute away"


def test_who_held_the_masked_document_and_may_read_it_now_is_told_what_it_says(tmp_path: Path, bao: Bao) -> None:
    bao.put("services/pay/prod/view", {"password": "hunter2"})
    vault: dict[str, Any] = {"vault_addr": bao.address, "vault_mounts": {"kv": ("secret", 2)}}
    with Stage(tmp_path, **vault, vault_role_id=bao.role_id, vault_secret_id=bao.secret_id()) as stage:
        stage.push({"pay.yml": "password: ${vault:kv/services/pay/prod/view#password}\n"})
        viewer, reader = stage.connect("config:view:*/*"), stage.connect("config:read:*/*")
        (masked,) = [frame for frame in viewer.subscribe(PAY) if frame["type"] == "change"]
        again = viewer.resume({PAY: masked["etag"]})
        (read,) = [frame for frame in reader.resume({PAY: masked["etag"]}) if frame["type"] == "change"]
        stage.services.close()
    assert [frame["type"] for frame in again] == ["subscribed", "sync"]
    assert (masked["doc"]["password"], read["op"], read["doc"]["password"]) == ("******", "put", "hunter2")
    assert read["etag"] != masked["etag"]
