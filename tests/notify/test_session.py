"""A stream's conversation, driven without a transport: what a client is told, and what it is spared."""

from __future__ import annotations

import hashlib
import json
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from app.effective import canonical
from app.engine.vault_in import Denied
from app.errors import (
    BadConfiguration,
    BadInput,
    ConfigServerError,
    Forbidden,
    SecretRefused,
    SecretsUnavailable,
    UnknownLabel,
)
from app.model import Principal, View
from app.notify import wire
from app.notify.wire import Subscribe
from app.repository.errors import GitFailed, ObjectLost
from app.streams import Close, topic_code
from tests.notify.stage import Stage
from tests.protocol import validated

PAY, SHOP = "pay/prod/main", "shop/prod/main"
PAY_DOC = {"log": "info", "shared": 1, "db": {"pool": 5, "url": "localhost/x"}}

Frames = list[dict[str, Any]]


def types(told: Frames) -> list[str]:
    return [str(frame.get("op", frame["type"])) for frame in told]


def only(told: Frames, op: str) -> dict[str, Any]:
    found = [frame for frame in told if frame.get("op", frame["type"]) == op]
    assert len(found) == 1, told
    return found[0]


def etag_of(stage: Stage, topic: str = PAY) -> str:
    """The etag as another client learns it."""
    client = stage.connect()
    etag: str = only(client.subscribe(topic), "put")["etag"]
    client.leave()
    return etag


# Subscribing


def test_who_holds_nothing_is_told_everything(stage: Stage) -> None:
    told = stage.connect().subscribe(PAY)
    assert types(told) == ["subscribed", "put", "sync"]
    subscribed, put, sync = told
    assert subscribed == {"type": "subscribed", "topics": [PAY], "mode": "full"}
    assert put["topic"] == PAY
    assert put["doc"] == PAY_DOC
    assert put["version"] == put["head"] == stage.origin.head
    assert set(put["keys"]) == {"log", "shared", "db.pool", "db.url"}
    assert put["sum"] == hashlib.sha256(canonical(put["doc"])).hexdigest()
    assert sync["rev"] == stage.rev


def test_who_holds_the_same_etag_is_told_nothing_but_sync(stage: Stage) -> None:
    told = stage.connect().resume({PAY: etag_of(stage)})
    assert types(told) == ["subscribed", "sync"]
    assert told[0]["mode"] == "none"


def test_who_holds_another_etag_is_told_what_differs(stage: Stage) -> None:
    known = etag_of(stage)
    stage.push({"pay.yml": "db:\n  pool: 6\nnew: 1\n"})
    told = stage.connect().resume({PAY: known, SHOP: etag_of(stage, SHOP)})
    assert types(told) == ["subscribed", "put", "sync"]
    assert told[0]["mode"] == "changes"
    assert set(told[1]["keys"]) == {"db.pool", "new"}
    unknown = stage.connect().resume({PAY: "f" * 32})
    assert set(only(unknown, "put")["keys"]) == {"log", "shared", "db.pool", "db.url", "new"}


def test_a_topic_without_a_label_is_that_of_the_default_label(stage: Stage) -> None:
    told = stage.connect().subscribe("pay/prod")
    assert told[0]["topics"] == [PAY]
    assert told[1]["topic"] == PAY


def test_labels_with_slashes_tags_commits_and_several_envs_can_be_followed(stage: Stage) -> None:
    stage.origin.tag("v1")
    stage.origin.branch("release/2.1")
    stage.pull()
    names = ["pay/prod/release/2.1", "pay/prod/v1", f"pay/prod/{stage.origin.head}", "pay/prod,eu/main"]
    told = stage.connect().subscribe(*names)
    assert types(told) == ["subscribed", "put", "put", "put", "put", "sync"]
    assert told[0]["topics"] == names


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("pay/prod/nowhere", "unknown-label"),
        (f"pay/prod/{'0' * 40}", "unknown-label"),
        ("pay", "bad-topic"),
        ("pay/", "bad-topic"),
        ("/prod", "bad-topic"),
        ("pay//main", "bad-topic"),
        ("pay/prod,prod/main", "bad-topic"),
        ("pay/prod,/main", "bad-topic"),
        ("../prod/main", "bad-topic"),
        ("pay/prod/--output=x", "bad-topic"),
        ("pay/prod/a..b", "bad-topic"),
        ("pay/prod/main@{upstream}", "bad-topic"),
        ("pay/prod/\u202e", "bad-topic"),
        ("p\u0000y/prod", "bad-topic"),
        ("x" * 600, "bad-topic"),
    ],
)
def test_a_topic_that_cannot_be_followed_is_an_error_and_the_others_are_followed(
    stage: Stage, name: str, code: str
) -> None:
    told = stage.connect().subscribe(name, SHOP)
    assert types(told) == ["error", "subscribed", "put", "sync"]
    assert told[0] == {"type": "error", "code": code, "topic": name, "retry": False}
    assert told[1]["topics"] == [SHOP]


def test_a_topic_without_a_grant_is_forbidden_whether_it_exists_or_not(stage: Stage) -> None:
    told = stage.connect("config:read:pay").subscribe(PAY, SHOP, "nobody/prod/main")
    assert [(frame["code"], frame["topic"]) for frame in told if frame["type"] == "error"] == [
        ("forbidden", SHOP),
        ("forbidden", "nobody/prod/main"),
    ]
    assert only(told, "subscribed")["topics"] == [PAY]


def test_who_has_no_grant_does_not_learn_which_labels_there_are(stage: Stage) -> None:
    told = stage.connect("config:read:pay").subscribe("shop/prod/main", "shop/prod/nowhere")
    assert {frame["code"] for frame in told} == {"forbidden"}


def test_the_view_is_that_of_the_grant(stage: Stage) -> None:
    for scope in ("config:view", "config:read:*/*"):
        assert only(stage.connect(scope).subscribe(PAY), "put")["doc"] == PAY_DOC


def test_two_who_are_told_the_same_get_the_same_bytes(stage: Stage) -> None:
    one, two = stage.connect(), stage.connect()
    puts = [next(islice(each.session.handle(Subscribe({PAY: None})), 1, None)) for each in (one, two)]
    assert puts[0] is puts[1]
    assert puts[0].websocket is puts[1].websocket


def test_the_same_topic_under_two_names_is_followed_once(stage: Stage) -> None:
    told = stage.connect().subscribe("pay/prod", PAY)
    assert types(told) == ["subscribed", "put", "sync"]
    assert told[0] == {"type": "subscribed", "topics": [PAY], "mode": "full"}


def test_who_subscribes_again_says_anew_what_is_held(stage: Stage) -> None:
    client = stage.connect()
    etag = only(client.subscribe(PAY), "put")["etag"]
    assert types(client.resume({PAY: etag})) == ["subscribed", "sync"]
    assert types(client.subscribe(PAY)) == ["subscribed", "put", "sync"]
    stage.push({"pay.yml": "db:\n  pool: 6\n"})
    assert types(client.due()) == ["put", "sync"], "and is told of a change once"


def test_two_hundred_topics_are_followed_and_no_more(stage: Stage) -> None:
    client = stage.connect()
    first = client.subscribe(*(f"service-{n}/prod" for n in range(200)))
    assert types(first) == ["subscribed", *["put"] * 200, "sync"]
    told = client.subscribe("service-7/prod", "one-more/prod")
    assert only(told, "error") == {
        "type": "error",
        "code": "too-many-topics",
        "topic": "one-more/prod",
        "retry": False,
    }
    assert only(told, "subscribed")["topics"] == ["service-7/prod/main"]
    client.unsubscribe("service-7/prod/main")
    assert types(client.subscribe("one-more/prod")) == ["subscribed", "put", "sync"]


@pytest.mark.parametrize("name", [PAY, "pay/prod"])
def test_who_unsubscribes_is_told_no_more_of_that_topic(stage: Stage, name: str) -> None:
    client = stage.connect()
    client.subscribe("pay/prod", SHOP)
    assert client.unsubscribe(name, "never/subscribed/main") == []
    stage.push({"application.yml": "log: debug\n"})
    told = client.due()
    assert [frame["topic"] for frame in told if frame["type"] == "change"] == [SHOP]


# What moves


def test_a_change_is_told_with_the_keys_that_differ_to_who_is_concerned_alone(stage: Stage) -> None:
    pay, shop = stage.connect(), stage.connect()
    held = only(pay.subscribe(PAY), "put")["etag"]
    shop.subscribe(SHOP)
    commit = stage.push({"pay.yml": "db:\n  pool: 6\n"})
    told = pay.due()
    assert types(told) == ["put", "sync"]
    assert told[0]["keys"] == ["db.pool"]
    assert told[0]["doc"] == {**PAY_DOC, "db": {"pool": 6, "url": "localhost/x"}}
    assert told[0]["version"] == told[0]["head"] == commit
    assert told[0]["etag"] != held
    assert told[1]["rev"] == stage.rev
    assert shop.due() == []
    assert pay.due() == []


def test_all_changes_of_one_revision_come_before_one_sync(stage: Stage) -> None:
    client = stage.connect()
    client.subscribe(PAY, SHOP)
    stage.push({"application.yml": "log: debug\nshared: 1\n"})
    told = client.due()
    assert types(told) == ["put", "put", "sync"]
    assert {frame["topic"] for frame in told[:2]} == {PAY, SHOP}


def test_who_looks_late_is_told_the_newest_state_only(stage: Stage) -> None:
    client = stage.connect()
    client.subscribe(PAY)
    for pool in (6, 7, 8):
        stage.push({"pay.yml": f"db:\n  pool: {pool}\n"})
    told = client.due()
    assert types(told) == ["put", "sync"]
    assert told[0]["doc"]["db"]["pool"] == 8


def test_a_change_that_was_taken_back_before_anyone_looked_is_told_to_nobody(stage: Stage) -> None:
    client = stage.connect()
    client.subscribe(PAY)
    stage.push({"pay.yml": "db:\n  pool: 6\n"})
    stage.push({"pay.yml": "db:\n  pool: 5\n"})
    assert client.due() == []


@pytest.mark.parametrize(
    "files",
    [
        {"pay.yml": "# why it is five\ndb:\n  pool: 5\n"},
        {"pay.yml": "db: {pool: 5}\n"},
        {"README.md": "hello"},
        {"pay-dev.yml": "db:\n  pool: 9\n"},
    ],
    ids=["a comment", "another way to write it", "no configuration", "another env"],
)
def test_a_commit_that_changes_nothing_for_a_topic_wakes_nobody(stage: Stage, files: dict[str, str | None]) -> None:
    client = stage.connect()
    client.subscribe(PAY)
    client.woken.clear()
    rev = stage.rev
    stage.push(files)
    assert stage.rev != rev
    assert not client.woken.wait(0)
    assert client.due() == []


def test_a_bad_commit_is_told_as_a_state_and_the_repair_as_what_it_is(stage: Stage) -> None:
    client = stage.connect()
    first = only(client.subscribe(PAY), "put")
    bad = stage.push({"pay.yml": "db:\n  pool: [\n"})
    told = client.due()
    assert types(told) == ["state", "sync"]
    state = told[0]
    assert (state["etag"], state["version"], state["head"]) == (first["etag"], first["version"], bad)
    assert [(stale["reason"], stale["commit"]) for stale in state["stale"]] == [("invalid", bad)]
    assert "pay.yml:" in state["stale"][0]["detail"]
    good = stage.push({"pay.yml": "db:\n  pool: 5\n"})
    told = client.due()
    assert types(told) == ["state", "sync"], "the same document as before"
    assert (told[0]["etag"], told[0]["version"], told[0]["head"]) == (first["etag"], good, good)
    assert "stale" not in told[0]


def test_who_comes_while_an_older_version_is_served_is_told_so(stage: Stage) -> None:
    etag = etag_of(stage)
    stage.push({"pay.yml": "db:\n  pool: [\n"})
    assert only(stage.connect().subscribe(PAY), "put")["stale"][0]["reason"] == "invalid"
    assert types(stage.connect().resume({PAY: etag})) == ["subscribed", "state", "sync"]


def test_a_topic_with_nothing_good_is_an_error_until_there_is(stage: Stage) -> None:
    """A tag has no last known good: it stands for one commit alone."""
    good = stage.origin.head
    stage.push({"pay.yml": "db:\n  pool: [\n"})
    stage.origin.tag("v1")
    stage.pull()
    client = stage.connect()
    told = client.subscribe("pay/prod/v1", SHOP)
    assert types(told) == ["subscribed", "error", "put", "sync"]
    assert told[1] == {"type": "error", "code": "bad-configuration", "topic": "pay/prod/v1", "retry": False}
    stage.push({"application.yml": "log: debug\n"})
    assert [frame.get("topic") for frame in client.due()] == [SHOP, None], "said once"
    stage.origin.force(good)
    stage.origin.tag("v1")
    stage.pull()
    assert [frame["topic"] for frame in client.due() if frame.get("op") == "put"].count("pay/prod/v1") == 1


def test_a_service_that_nobody_configures_is_told_as_gone_until_it_comes(tmp_path: Path) -> None:
    with Stage(tmp_path, accept_empty=False) as strict:
        client = strict.connect()
        assert types(client.resume({"new/prod/main": "what I had"})) == ["subscribed", "del", "sync"]
        strict.push({"new.yml": "a: 1\n"})
        assert only(client.due(), "put")["doc"]["a"] == 1
        strict.push({"new.yml": None})
        assert types(client.due()) == ["del", "sync"]


def test_a_deleted_branch_is_told_as_deleted_and_its_return_as_new(stage: Stage) -> None:
    stage.origin.branch("next")
    stage.pull()
    client = stage.connect()
    topic = "pay/prod/next"
    etag = only(client.subscribe(topic), "put")["etag"]
    stage.origin.branch("main")
    stage.origin.delete_branch("next")
    stage.pull()
    told = client.due()
    assert types(told) == ["del", "sync"]
    assert (told[0]["topic"], told[0]["etag"]) == (topic, etag)
    assert client.due() == []
    stage.origin.branch("next")
    stage.pull()
    assert types(client.due()) == ["put", "sync"]


def test_a_forced_push_is_followed(stage: Stage) -> None:
    first = stage.origin.head
    stage.push({"pay.yml": "db:\n  pool: 6\n"})
    client = stage.connect()
    client.subscribe(PAY)
    stage.origin.force(first)
    stage.pull()
    assert only(client.due(), "put")["doc"] == PAY_DOC


def test_git_going_away_and_coming_back_is_told_as_states(stage: Stage) -> None:
    client = stage.connect()
    client.subscribe(PAY)
    hidden = stage.origin.bare.rename(stage.origin.bare.with_name("hidden.git"))
    stage.pull()
    told = client.due()
    assert types(told) == ["state", "sync"]
    assert [stale["reason"] for stale in told[0]["stale"]] == ["git"]
    hidden.rename(stage.origin.bare)
    stage.pull()
    told = client.due()
    assert types(told) == ["state", "sync"]
    assert "stale" not in told[0]


def test_a_grant_that_was_withdrawn_ends_the_delivery_and_is_told_once(stage: Stage) -> None:
    views: list[View | None] = [View.RESOLVED]

    def authorize(principal: Principal, service: str, envs: tuple[str, ...]) -> View | None:
        return views[-1]

    client = stage.connect(authorize=authorize)
    client.subscribe(PAY)
    views.append(None)
    for pool in (6, 7):
        stage.push({"pay.yml": f"db:\n  pool: {pool}\n"})
        if pool == 6:
            assert only(client.due(), "error")["code"] == "forbidden"
        else:
            assert client.due() == []
    views.append(View.RESOLVED)
    stage.push({"pay.yml": "db:\n  pool: 8\n"})
    assert only(client.due(), "put")["doc"]["db"]["pool"] == 8


def test_what_moves_while_a_subscription_is_answered_comes_with_the_next_look(stage: Stage) -> None:
    client = stage.connect()
    told = client.session.handle(Subscribe({PAY: None}))
    assert next(told).type == "subscribed"
    rev = stage.rev
    stage.push({"pay.yml": "db:\n  pool: 6\n"})
    put, sync = (json.loads(frame.text) for frame in told)
    assert (put["doc"]["db"]["pool"], sync["rev"]) == (5, rev), "one revision"
    told_then = client.due()
    assert only(told_then, "put")["doc"]["db"]["pool"] == 6
    assert only(told_then, "sync")["rev"] == stage.rev


def test_the_digest_stands_for_what_is_held_whatever_the_order(stage: Stage) -> None:
    one, two, three = stage.connect(), stage.connect(), stage.connect()
    one.subscribe(PAY, SHOP)
    two.subscribe(SHOP)
    two.subscribe(PAY)
    three.subscribe(PAY)
    assert one.session.digest() == two.session.digest() != three.session.digest()
    before = one.session.digest()
    stage.push({"pay.yml": "db:\n  pool: 6\n"})
    one.due()
    assert one.session.digest() != before


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Denied(("db.password",), in_use=True), "secret-refused"),
        (SecretRefused(["db.password"]), "secret-refused"),
        (ObjectLost("0" * 40), "repository-unavailable"),
        (GitFailed("git ls-tree took longer than 10 s"), "repository-unavailable"),
        (SecretsUnavailable("sealed"), "secrets-unavailable"),
        (BadConfiguration("pay.yml", 3, "no"), "bad-configuration"),
        (UnknownLabel("no such label"), "unknown-label"),
        (Forbidden("no grant"), "forbidden"),
        (BadInput("env", "is illegal"), "bad-topic"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_failure_is_told_by_its_public_name(failure: ConfigServerError, code: str) -> None:
    """What Vault refuses and what policy refuses look alike; and how we are made is nobody's business."""
    assert topic_code(failure) == code
    validated(wire.error(topic_code(failure), PAY, False).text)


# The life of a stream


def test_a_stream_greets_answers_and_beats(stage: Stage) -> None:
    client = stage.connect(heartbeat=0.1)
    told = client.run(messages=[json.dumps({"type": "subscribe", "topics": [{"name": PAY}]})])
    hello = next(told)
    assert isinstance(hello, dict)
    assert (hello["type"], hello["rev"], hello["hb_ms"]) == ("hello", stage.rev, 100)
    kinds = [frame["type"] for frame in islice(told, 4) if isinstance(frame, dict)]
    assert kinds == ["subscribed", "change", "sync", "sync"]
    for _ in range(2):
        asked, due_at = time.monotonic(), client.session.due_at()
        beat = next(told)
        assert isinstance(beat, dict)
        assert beat["type"] == "sync"
        told_at = time.monotonic()
        assert told_at >= due_at
        assert max(asked, due_at) + 0.09 <= client.session.due_at() <= told_at + 0.11, "+-10 %"


def test_topics_of_the_request_are_answered_after_the_greeting(stage: Stage) -> None:
    told = stage.connect().run(Subscribe({PAY: None}))
    kinds = [frame["type"] for frame in islice(told, 4) if isinstance(frame, dict)]
    assert kinds == ["hello", "subscribed", "change", "sync"]


def test_a_change_is_told_as_soon_as_the_stream_is_woken(stage: Stage) -> None:
    told = stage.connect().run(Subscribe({PAY: None}))
    assert len(list(islice(told, 4))) == 4
    stage.push({"pay.yml": "db:\n  pool: 6\n"})
    started = time.monotonic()
    change, sync = islice(told, 2)
    assert isinstance(change, dict)
    assert isinstance(sync, dict)
    assert (change["type"], sync["type"]) == ("change", "sync")
    assert time.monotonic() - started < 9, "the heartbeat is a minute away"


@pytest.mark.parametrize("lifetime", [0.3, -5.0])
def test_a_stream_ends_with_its_token(stage: Stage, lifetime: float) -> None:
    told = list(stage.connect(lifetime=lifetime).run(Subscribe({PAY: None})))
    *_, goodbye, close = told
    assert isinstance(goodbye, dict)
    assert (goodbye["type"], goodbye["code"]) == ("goodbye", wire.CLOSE_TOKEN)
    assert close == Close(wire.CLOSE_TOKEN, "the token has expired")


def test_a_drain_says_goodbye_and_spreads_who_comes_back(stage: Stage) -> None:
    streams = [stage.connect().run(Subscribe({PAY: None})) for _ in range(10)]
    for told in streams:
        assert len(list(islice(told, 4))) == 4
    stage.services.drain()
    pauses = set()
    for told in streams:
        goodbye, close = told
        assert isinstance(goodbye, dict)
        assert goodbye["code"] == wire.CLOSE_RESTART
        assert isinstance(close, Close)
        assert close.code == wire.CLOSE_RESTART
        pauses.add(goodbye["retry_ms"])
    assert len(pauses) > 5
    assert max(pauses) <= 5000


@pytest.mark.parametrize("message", ["nonsense", b'{"type": "subscribe", "topics": [{"name": "pay/prod"}]}', "{}"])
def test_a_bad_frame_ends_the_stream_and_says_why(stage: Stage, message: str | bytes) -> None:
    _, error, close = stage.connect().run(messages=[message])
    assert error == {"type": "error", "code": "bad-frame", "retry": False}
    assert isinstance(close, Close)
    assert close.code == wire.CLOSE_BAD_FRAME
    assert 0 < len(close.reason.encode()) <= 123, "what fits into a close frame (RFC 6455, 5.5)"


def test_a_stream_that_ended_leaves_nothing_behind(stage: Stage) -> None:
    client = stage.connect()
    client.subscribe(PAY, SHOP)
    client.leave()
    assert len(stage.services.notifier) == 0
    assert stage.services.notifier.targets() == []
