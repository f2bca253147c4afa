"""cfg.v1 as text: every frame is what the schema says, and no client's frame is more than a BadFrame."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from app.model import Json, Stale, StaleReason
from app.notify import wire
from app.notify.wire import Ack, Auth, BadFrame, Change, Frame, Subscribe, Unsubscribe, parse, text_of
from tests.protocol import SCHEMA, validated

ETAG, OTHER_ETAG, SUM = "0123456789abcdef" * 2, "f" * 32, "a" * 64
COMMIT, HEAD = "1" * 40, "2" * 40
REV, AT, TOPIC = "1-0123abcd.42", "2025-01-02T03:04:05.678Z", "pay/prod,eu/release/2.1"
STALE = (Stale(StaleReason.GIT, AT), Stale(StaleReason.INVALID, "2025-01-02T03:04:05+00:00", HEAD, "pay.yml:3: no"))
PATCH: tuple[dict[str, Json], ...] = (
    {"op": "remove", "path": "/a~1b/c~0d"},
    {"op": "add", "path": "/", "value": None},
    {"op": "replace", "path": "/hosts", "value": [1, {}]},
)
ROUGH: Json = {"a": {"b": [1, None, True, 1.5, 'grüße 😀 \u2028 \n\r\0 " \\ </script>']}, "": [], "c": {}}

FRAMES: dict[str, tuple[Callable[[], Frame], dict[str, Any]]] = {
    "hello": (lambda: wire.hello("c1", REV, 20), {"type": "hello", "conn": "c1", "rev": REV, "hb_ms": 20_000}),
    "hello with a short heartbeat": (
        lambda: wire.hello("c1", REV, 0.0506),
        {"type": "hello", "conn": "c1", "rev": REV, "hb_ms": 51},
    ),
    "subscribed": (
        lambda: wire.subscribed([TOPIC, "a/b/c"], "changes"),
        {"type": "subscribed", "topics": [TOPIC, "a/b/c"], "mode": "changes"},
    ),
    "put": (
        lambda: wire.change(
            Change(TOPIC, "put", ETAG, COMMIT, HEAD, ("a.b[4]", '["x.y"]'), STALE, text_of(ROUGH), SUM)
        ),
        {
            "type": "change",
            "topic": TOPIC,
            "op": "put",
            "etag": ETAG,
            "version": COMMIT,
            "head": HEAD,
            "keys": ["a.b[4]", '["x.y"]'],
            "stale": [
                {"reason": "git", "since": AT},
                {
                    "reason": "invalid",
                    "since": "2025-01-02T03:04:05+00:00",
                    "commit": HEAD,
                    "detail": "pay.yml:3: no",
                },
            ],
            "doc": ROUGH,
            "sum": SUM,
        },
    ),
    "put of nothing": (
        lambda: wire.change(Change(TOPIC, "put", ETAG, COMMIT, COMMIT, doc=text_of({}), sum=SUM)),
        {
            "type": "change",
            "topic": TOPIC,
            "op": "put",
            "etag": ETAG,
            "version": COMMIT,
            "head": COMMIT,
            "keys": [],
            "doc": {},
            "sum": SUM,
        },
    ),
    "patch": (
        lambda: wire.change(
            Change(
                TOPIC,
                "patch",
                ETAG,
                COMMIT,
                HEAD,
                ("a",),
                base=OTHER_ETAG,
                patch=text_of(PATCH),
                sum=SUM,
                rewritten=True,
            )
        ),
        {
            "type": "change",
            "topic": TOPIC,
            "op": "patch",
            "etag": ETAG,
            "version": COMMIT,
            "head": HEAD,
            "keys": ["a"],
            "rewritten": True,
            "base": OTHER_ETAG,
            "patch": [
                {"op": "remove", "path": "/a~1b/c~0d"},
                {"op": "add", "path": "/", "value": None},
                {"op": "replace", "path": "/hosts", "value": [1, {}]},
            ],
            "sum": SUM,
        },
    ),
    "patch of what this view does not show": (
        lambda: wire.change(Change(TOPIC, "patch", ETAG, COMMIT, HEAD, base=OTHER_ETAG, patch=text_of([]), sum=SUM)),
        {
            "type": "change",
            "topic": TOPIC,
            "op": "patch",
            "etag": ETAG,
            "version": COMMIT,
            "head": HEAD,
            "keys": [],
            "base": OTHER_ETAG,
            "patch": [],
            "sum": SUM,
        },
    ),
    "state": (
        lambda: wire.change(Change(TOPIC, "state", ETAG, COMMIT, HEAD, stale=STALE[:1])),
        {
            "type": "change",
            "topic": TOPIC,
            "op": "state",
            "etag": ETAG,
            "version": COMMIT,
            "head": HEAD,
            "keys": [],
            "stale": [{"reason": "git", "since": AT}],
        },
    ),
    "del": (
        lambda: wire.change(Change(TOPIC, "del", ETAG, "", "")),
        {"type": "change", "topic": TOPIC, "op": "del", "etag": ETAG, "version": "", "head": "", "keys": []},
    ),
    "sync": (lambda: wire.with_digest(wire.sync(REV, AT), REV, "d" * 16), {"type": "sync", "rev": REV, "ts": AT}),
    "error": (
        lambda: wire.error("unknown-label", "pay/prod/nowhere", False),
        {"type": "error", "code": "unknown-label", "topic": "pay/prod/nowhere", "retry": False},
    ),
    "error of the connection": (
        lambda: wire.error("bad-frame", None, False),
        {"type": "error", "code": "bad-frame", "retry": False},
    ),
    "auth_expiring": (lambda: wire.auth_expiring(59.9996), {"type": "auth_expiring", "in_ms": 60_000}),
    "goodbye": (lambda: wire.goodbye(1012, 5.25), {"type": "goodbye", "code": 1012, "retry_ms": 5250}),
}


def ack(**members: object) -> str:
    said = {"type": "ack", "rev": REV, "topic": TOPIC, "etag": ETAG, "status": "applied", **members}
    return json.dumps({name: value for name, value in said.items() if value is not None})


BAD_FRAMES: dict[str, str | bytes] = {
    "binary": b'{"type": "unsubscribe", "topics": ["a/b/c"]}',
    "empty": "",
    "not JSON": "{",
    "two values": '{"type": "unsubscribe", "topics": ["a"]} {}',
    "an array": '[{"type": "unsubscribe", "topics": ["a"]}]',
    "a text": '"subscribe"',
    "null": "null",
    "deep nesting": "[" * 100_000,
    "deep nesting inside": '{"type": "subscribe", "topics": ' + "[" * 100_000,
    "a number of 5,000 digits": '{"type": "subscribe", "since": ' + "9" * 5000 + ', "topics": [{"name": "a"}]}',
    "no type": "{}",
    "another type": '{"type": "publish"}',
    "a command of the server": '{"type": "sync", "rev": "1-00000000.1"}',
    "the type is a list": '{"type": ["subscribe"], "topics": [{"name": "a"}]}',
    "the type is null": '{"type": null}',
    "the type has another case": '{"type": "Subscribe", "topics": [{"name": "a"}]}',
    "no topics": '{"type": "subscribe"}',
    "topics are null": '{"type": "subscribe", "topics": null}',
    "no topic": '{"type": "subscribe", "topics": []}',
    "topics are a map": '{"type": "subscribe", "topics": {"name": "a"}}',
    "a topic is a text": '{"type": "subscribe", "topics": ["a"]}',
    "a topic without a name": '{"type": "subscribe", "topics": [{"etag": "a"}]}',
    "an empty name": '{"type": "subscribe", "topics": [{"name": ""}]}',
    "a name is a number": '{"type": "subscribe", "topics": [{"name": 1e999}]}',
    "a name of 601 characters": json.dumps({"type": "subscribe", "topics": [{"name": "a" * 601}]}),
    "half a surrogate pair": r'{"type": "subscribe", "topics": [{"name": "a/\ud800/b"}]}',
    "an etag of 601 characters": json.dumps({"type": "subscribe", "topics": [{"name": "a", "etag": "e" * 601}]}),
    "an etag is a map": '{"type": "subscribe", "topics": [{"name": "a", "etag": {}}]}',
    "201 topics": json.dumps({"type": "subscribe", "topics": [{"name": f"s{n}/prod"} for n in range(201)]}),
    "since is a number": '{"type": "subscribe", "topics": [{"name": "a"}], "since": 5}',
    "client is a text": '{"type": "subscribe", "topics": [{"name": "a"}], "client": "x"}',
    "an instance is a number": '{"type": "subscribe", "topics": [{"name": "a"}], "client": {"instance": 7}}',
    "unsubscribe from nothing": '{"type": "unsubscribe", "topics": []}',
    "unsubscribe without topics": '{"type": "unsubscribe"}',
    "unsubscribe from a map": '{"type": "unsubscribe", "topics": [{"name": "a"}]}',
    "unsubscribe from 201": json.dumps({"type": "unsubscribe", "topics": ["a"] * 201}),
    "unsubscribe from half a surrogate pair": r'{"type": "unsubscribe", "topics": ["\udfff"]}',
    "accepts what there is not": '{"type": "subscribe", "topics": [{"name": "a"}], "accept": ["diff"]}',
    "accept is a text": '{"type": "subscribe", "topics": [{"name": "a"}], "accept": "patch"}',
    "accept is null": '{"type": "subscribe", "topics": [{"name": "a"}], "accept": null}',
    "a token is a list": '{"type": "auth", "token": ["a.b.c"]}',
    "an empty token": '{"type": "auth", "token": ""}',
    "a token beyond ASCII": '{"type": "auth", "token": "ü"}',
    "no token": '{"type": "auth"}',
    "an ack of nothing": '{"type": "ack"}',
    "an ack that is neither": ack(status="perhaps"),
    "an ack without a topic": ack(topic=None),
    "an ack whose reason is a list": ack(reason=["no"]),
    "an ack whose reason is too long": ack(status="rejected", reason="x" * 601),
}

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@pytest.mark.parametrize(("make", "expected"), FRAMES.values(), ids=FRAMES.keys())
def test_every_frame_says_what_it_is_given_and_fits_the_schema(
    make: Callable[[], Frame], expected: dict[str, Any]
) -> None:
    frame = make()
    assert validated(frame.text) == expected
    assert frame.type == expected["type"]


def test_only_sync_carries_an_event_id() -> None:
    ids = {name: make().id for name, (make, _) in FRAMES.items()}
    assert {name: value for name, value in ids.items() if value} == {"sync": f"{REV};{'d' * 16}"}


def test_the_schema_is_one_and_refuses_what_no_frame_is() -> None:
    whole = Draft202012Validator(json.loads(SCHEMA.read_bytes()))
    for make, expected in FRAMES.values():
        assert whole.is_valid(expected)
        assert not whole.is_valid({**expected, "more": 1}), "no member that is not described"
        for name in expected:
            less = {key: value for key, value in expected.items() if key != name}
            optional = name in {"stale", "rewritten"} or (expected["type"], name) == ("error", "topic")
            assert whole.is_valid(less) == optional
        with pytest.raises(AssertionError):
            validated(json.dumps(json.loads(make().text) | {"type": "other"}))


@pytest.mark.parametrize(
    ("frame", "member", "value"),
    [
        ("hello", "rev", "42"),
        ("hello", "hb_ms", 0),
        ("subscribed", "topics", [TOPIC, TOPIC]),
        ("subscribed", "topics", ["pay/prod"]),
        ("subscribed", "mode", "some"),
        ("put", "etag", ETAG.upper()),
        ("put", "etag", ""),
        ("put", "version", "main"),
        ("put", "stale", []),
        ("put", "stale", [{"reason": "git", "since": ""}]),
        ("put", "stale", [{"reason": "tired", "since": AT}]),
        ("put", "doc", [1]),
        ("put", "sum", SUM[1:]),
        ("put", "op", "patch"),
        ("put", "rewritten", False),
        ("put", "base", ETAG),
        ("patch", "doc", {}),
        ("patch", "base", None),
        ("patch", "patch", [{"op": "remove", "path": "/a", "value": 1}]),
        ("patch", "patch", [{"op": "add", "path": "/a"}]),
        ("patch", "patch", [{"op": "move", "path": "/a", "from": "/b"}]),
        ("patch", "patch", [{"op": "remove", "path": "a"}]),
        ("patch", "patch", [{"op": "remove", "path": "/a~2"}]),
        ("auth_expiring", "in_ms", -1),
        ("state", "doc", {}),
        ("del", "head", HEAD),
        ("sync", "ts", "2025-01-02 03:04:05"),
        ("error", "code", "whatever"),
        ("error", "topic", ""),
        ("goodbye", "retry_ms", -1),
        ("goodbye", "code", 1000),
    ],
)
def test_the_schema_refuses_wrong_values(frame: str, member: str, value: object) -> None:
    with pytest.raises(AssertionError):
        validated(json.dumps({**FRAMES[frame][1], member: value}))


def test_a_subscription_is_read_with_all_its_members() -> None:
    text = json.dumps(
        {
            "type": "subscribe",
            "topics": [{"name": "pay/prod", "etag": ETAG}, {"name": TOPIC}, {"name": "a/b", "etag": None}],
            "since": REV,
            "accept": ["put", "patch"],
            "client": {"instance": "pay-7f", "version": "1.2"},
        }
    )
    validated(text)
    topics = {"pay/prod": ETAG, TOPIC: None, "a/b": None}
    assert parse(text) == Subscribe(topics, REV, {"instance": "pay-7f", "version": "1.2"}, accepts_patches=True)


def test_a_new_token_is_read_and_not_shown() -> None:
    text = '{"type": "auth", "token": "a.b.c"}'
    validated(text)
    assert parse(text) == Auth("a.b.c")
    assert "a.b.c" not in repr(parse(text))


@pytest.mark.parametrize(("status", "reason"), [("applied", None), ("rejected", "the pool is too small")])
def test_an_ack_is_read_with_all_its_members(status: str, reason: str | None) -> None:
    text = ack(status=status, reason=reason)
    validated(text)
    assert parse(text) == Ack(REV, TOPIC, ETAG, status, reason)


def test_two_hundred_topics_of_six_hundred_characters_are_read() -> None:
    names = [f"{n:0>600}" for n in range(200)]
    subscribe = json.dumps({"type": "subscribe", "topics": [{"name": name} for name in names]})
    unsubscribe = json.dumps({"type": "unsubscribe", "topics": names})
    validated(subscribe)
    validated(unsubscribe)
    assert parse(subscribe) == Subscribe(dict.fromkeys(names))
    assert parse(unsubscribe) == Unsubscribe(tuple(names))


def test_a_topic_named_twice_is_one_topic() -> None:
    topics = [{"name": "a/b", "etag": ETAG}, {"name": "a/b", "etag": OTHER_ETAG}]
    assert parse(json.dumps({"type": "subscribe", "topics": topics})) == Subscribe({"a/b": OTHER_ETAG})


def test_members_of_later_versions_are_let_be() -> None:
    text = '{"type": "subscribe", "topics": [{"name": "a/b", "depth": 3}], "mood": "good", "client": {"age": 7}}'
    assert parse(text) == Subscribe({"a/b": None})


@pytest.mark.parametrize("text", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
def test_a_bad_frame_is_refused_naming_the_member_and_quoting_nothing(text: str | bytes) -> None:
    with pytest.raises(BadFrame) as refused:
        parse(text)
    said = str(refused.value)
    assert 0 < len(said) < 80
    said.encode("ascii")
    if isinstance(text, str) and "\\ud" not in text:  # a schema cannot tell half a character from a whole one
        with pytest.raises((AssertionError, ValueError, RecursionError)):
            validated(text)


@given(
    st.dictionaries(TEXT, st.none() | TEXT, min_size=1, max_size=5),
    st.none() | TEXT,
    st.dictionaries(st.sampled_from(["instance", "version"]), TEXT),
)
def test_every_subscription_is_read_back(
    topics: dict[str, str | None], since: str | None, client: dict[str, str]
) -> None:
    written = [{"name": name} if etag is None else {"name": name, "etag": etag} for name, etag in topics.items()]
    text = json.dumps({"type": "subscribe", "topics": written, "since": since, "client": client})
    validated(text)
    assert parse(text) == Subscribe(topics, since, client)


@given(st.lists(TEXT, min_size=1, max_size=5))
def test_every_unsubscription_is_read_back(topics: list[str]) -> None:
    text = json.dumps({"type": "unsubscribe", "topics": topics}, ensure_ascii=False)
    validated(text)
    assert parse(text) == Unsubscribe(tuple(topics))


@given(st.text() | st.binary())
def test_no_message_is_worse_than_a_bad_frame(message: str | bytes) -> None:
    with pytest.raises(BadFrame):
        parse(message)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "etag", "x"]), inner),
    max_leaves=6,
)


@given(
    st.sampled_from(["subscribe", "unsubscribe", "publish", "auth", "ack"]),
    st.dictionaries(st.sampled_from(["topics", "since", "client", "accept", "token", "rev", "topic", "etag"]), VALUES),
)
def test_no_json_is_worse_than_a_bad_frame(kind: str, members: dict[str, Any]) -> None:
    try:
        command = parse(json.dumps({"type": kind, **members}))
    except BadFrame:
        return
    topics = command.topics if isinstance(command, Subscribe | Unsubscribe) else ["x"]
    assert topics
    wire.error("bad-topic", next(iter(topics)), False).websocket.decode("latin-1")
