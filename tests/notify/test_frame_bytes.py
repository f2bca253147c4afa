"""The bytes of a frame, read by others: wsproto for WebSocket, and a reader of event streams."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import TextMessage

from app.notify import wire
from app.notify.wire import Frame
from tests.notify.sse import Event, events

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def received(*frames: Frame) -> list[str]:
    """The messages that a WebSocket client gets."""
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(b"".join(frame.websocket for frame in frames))
    messages, whole = list[str](), ""
    for event in client.events():
        assert isinstance(event, TextMessage)
        whole += event.data
        if event.message_finished:
            messages.append(whole)
            whole = ""
    assert not whole
    return messages


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 65537, 1 << 20])
@pytest.mark.parametrize("letter", ["a", "ü", "😀"])
def test_a_frame_of_any_size_is_one_text_message(size: int, letter: str) -> None:
    width = len(letter.encode())
    text = letter * (size // width) + "a" * (size % width)
    frame = Frame("change", text)
    assert len(text.encode()) == size
    assert received(frame, Frame("sync", "{}"), frame) == [text, "{}", text]


@given(st.lists(TEXT, min_size=1, max_size=4))
def test_frames_follow_each_other_whole_and_in_order(texts: list[str]) -> None:
    assert received(*(Frame("change", text) for text in texts)) == texts


def test_a_frame_is_written_once() -> None:
    frame = wire.hello("c1", "1-00000000.1", 20)
    assert frame.websocket is frame.websocket
    assert frame.sse is frame.sse


def told(rev: str, ts: str, digest: str) -> Frame:
    return wire.with_digest(wire.sync(rev, ts), rev, digest)


@given(st.dictionaries(TEXT, TEXT, max_size=3))
def test_an_event_carries_its_frame_whatever_the_configuration_holds(doc: dict[str, str]) -> None:
    change = wire.change(wire.Change("a/b/c", "put", "0" * 32, "1" * 40, "1" * 40, doc=wire.text_of(doc), sum="2" * 64))
    sync = told("1-00000000.1", "2025-01-02T03:04:05.678Z", "feed")
    read = events(change.sse + sync.sse)
    assert read == [Event("change", change.text, ""), Event("sync", sync.text, "1-00000000.1;feed")]
    assert json.loads(read[0].data)["doc"] == doc


def test_the_id_of_the_last_sync_stays_until_the_next() -> None:
    first, second = told("1-00000000.1", "t", "a"), told("1-00000000.2", "t", "b")
    goodbye = wire.goodbye(1012, 1)
    read = events(first.sse + goodbye.sse + second.sse)
    assert [event.last_id for event in read] == ["1-00000000.1;a", "1-00000000.1;a", "1-00000000.2;b"]
