"""What the client decides, without a network: what it takes, what it refuses, and when it comes back."""

from __future__ import annotations

from typing import Any

import pytest

from config_client import ConfigRefused, ConfigUnavailable, Timings, core
from config_client.core import Ended, Trouble
from config_client.document import Document
from tests.client.talk import TOPIC, Talk, body, change, commit, etag, put, rev, sync

ONE, TWO = {"db": {"pool": 5}}, {"db": {"pool": 9}}


def test_a_first_configuration_is_fetched_and_then_followed_from_its_etag() -> None:
    talk = Talk()
    talk.started(ONE)
    assert talk.last(core.Fetched).error is None
    talk.connected()
    assert talk.sent()[0] == {
        "type": "subscribe",
        "topics": [{"name": "pay/prod", "etag": etag("one")}],
        "accept": ["put", "patch"],
        "client": {"instance": "pay-1", "version": "1.0"},
        "since": rev(1),
    }
    talk.wait(1)
    assert talk.sent()[1:] == [{"type": "ack", "rev": rev(1), "topic": TOPIC, "etag": etag("one"), "status": "applied"}]
    assert talk.core.following_by == "websocket"


def test_changes_are_taken_at_the_sync_and_not_before() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    talk.frames(put(TWO, "two"))
    assert talk.held.config == ONE
    talk.frames(sync(2))
    assert (talk.held.config, talk.held.rev) == (TWO, rev(2))


def test_what_no_sync_has_closed_is_forgotten_with_the_stream() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    talk.frames(put(TWO, "two"))
    talk.tell(Ended(talk.link, Trouble.BROKEN, "cut"))
    talk.wait(2)
    talk.connected(1)
    assert talk.held.config == ONE


def test_a_patch_is_applied_and_proved_by_its_base_and_sum() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    operations = [{"op": "replace", "path": "/db/pool", "value": 9}]
    whole = put(TWO, "two")
    patch = change("patch", "two", base=etag("one"), patch=operations, sum=whole["sum"])
    talk.frames(patch, sync(2))
    assert talk.held.config == TWO
    assert "mismatch" not in talk.notes()


@pytest.mark.parametrize(
    "damage",
    [{"base": etag("else")}, {"sum": "0" * 64}, {"patch": [{"op": "remove", "path": "/nope"}]}],
    ids=["base", "sum", "path"],
)
def test_a_patch_that_does_not_fit_is_not_taken_and_everything_is_asked_for_again(damage: dict[str, Any]) -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    operations = [{"op": "replace", "path": "/db/pool", "value": 9}]
    fits = change("patch", "two", base=etag("one"), patch=operations, sum=put(TWO, "two")["sum"])
    talk.frames({**fits, **damage}, sync(2))
    assert talk.held.config == ONE
    assert talk.sent()[-1]["topics"] == [{"name": "pay/prod"}]
    talk.frames(put(TWO, "two"), sync(2))
    assert talk.held.config == TWO


def test_a_stream_that_goes_on_sending_what_does_not_fit_is_left() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    for _ in range(3):
        talk.frames({**put(TWO, "two"), "sum": "0" * 64}, sync(2))
    assert [action.link for action in talk.all(core.Close)] == [talk.link]
    assert talk.held.config == ONE


def test_a_text_that_is_no_frame_is_a_mismatch_and_nothing_worse() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    for text in ("{", "[]", '{"type": "change"}', "[" * 100_000):
        talk.tell(core.Received(talk.link, text))
    assert talk.notes().count("mismatch") == 3, "after the third the stream is left, and nothing more of it is heard"
    assert talk.held.config == ONE


def test_frames_and_members_that_nobody_knows_are_ignored() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    talk.tell(core.Received(talk.link, '{"type": "weather", "sun": true}'))
    assert "mismatch" not in talk.notes()


def test_an_older_rev_of_the_same_epoch_is_refused() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected(7)
    talk.frames(put(TWO, "two"), sync(6))
    assert talk.held.config == ONE
    assert "older" in talk.notes()


def test_an_older_answer_to_a_poll_is_refused() -> None:
    talk = Talk(transports=["poll"])
    talk.started(ONE)
    talk.answer(304, number=7)
    talk.wait(40)
    talk.answer(200, body(TWO, "two"), number=6)
    assert talk.held.config == ONE


def test_the_state_of_a_document_is_told_without_judging_it_again() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    judged = len(talk.all(core.Judge))
    stale = [{"reason": "invalid", "since": "2026-11-23T09:48:49.880Z", "commit": commit("bad")}]
    talk.frames(change("state", "one", stale=stale), sync(2))
    assert talk.core.stale(talk.now) == ("invalid",)
    talk.frames(change("state", "one"), sync(3))
    assert talk.core.stale(talk.now) == ()
    assert len(talk.all(core.Judge)) == judged


def test_what_is_gone_from_the_server_is_kept_and_told_as_stale() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    talk.frames({**change("del", "one"), "version": "", "head": ""}, sync(2))
    assert (talk.held.config, talk.core.stale(talk.now)) == (ONE, ("gone",))
    talk.frames(put(TWO, "two"), sync(3))
    assert (talk.held.config, talk.core.stale(talk.now)) == (TWO, ())


def test_a_refused_change_is_kept_away_and_acknowledged_with_its_reason_on_every_stream() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    talk.takes = False
    talk.frames(put(TWO, "two"), sync(2))
    talk.tell(core.Judged(etag("two"), "ValueError: too many"))
    talk.wait(2)
    assert talk.held.config == ONE
    said = {"type": "ack", "rev": rev(2), "topic": TOPIC, "etag": etag("two"), "status": "rejected"}
    assert talk.sent()[-1] == {**said, "reason": "ValueError: too many"}
    talk.tell(Ended(talk.link, Trouble.BROKEN, "cut"))
    talk.wait(2)
    talk.connected(2)
    talk.wait(2)
    assert talk.sent()[-2]["topics"][0]["etag"] == etag("two"), "the next patch is made for what the server has told"
    assert talk.sent()[-1] == {**said, "reason": "ValueError: too many"}
    assert len(talk.all(core.Judge)) == 2, "what was refused is not shown again"


def test_a_patch_after_a_refused_change_applies_to_what_the_server_has_told() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    talk.takes = False
    talk.frames(put(TWO, "two"), sync(2))
    talk.tell(core.Judged(etag("two"), "no"))
    talk.takes = True
    three = {"db": {"pool": 9, "name": "x"}}
    operations = [{"op": "add", "path": "/db/name", "value": "x"}]
    talk.frames(change("patch", "three", base=etag("two"), patch=operations, sum=put(three, "x")["sum"]), sync(3))
    assert talk.held.config == three


def test_of_what_comes_while_the_program_looks_only_the_last_is_shown() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    talk.takes = False
    for number, pool in enumerate((7, 8, 9), start=2):
        talk.frames(put({"db": {"pool": pool}}, f"pool{pool}"), sync(number))
    assert len(talk.all(core.Judge)) == 2
    talk.tell(core.Judged(etag("pool7")))
    assert talk.last(core.Judge).new.config == {"db": {"pool": 9}}
    talk.tell(core.Judged(etag("pool9")))
    assert talk.held.config == {"db": {"pool": 9}}


def test_a_change_back_while_the_program_looks_is_not_lost() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    talk.takes = False
    talk.frames(put(TWO, "two"), sync(2))
    talk.frames(put(ONE, "one"), sync(3))
    talk.takes = True
    talk.tell(core.Judged(etag("two")))
    assert talk.held.config == ONE


def test_acknowledgements_never_come_so_often_that_the_server_ends_the_stream() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    for number in range(2, 60):
        talk.frames(put({"n": number}, f"n{number}"), sync(number))
        talk.wait(0.1)
    talk.wait(2)
    acks = [frame for frame in talk.sent() if frame["type"] == "ack"]
    assert acks[-1]["etag"] == etag("n59")
    assert len(acks) < 12, "in six seconds"


def test_a_silent_stream_is_left_after_three_heartbeats() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    talk.wait(50)
    talk.frames(sync(1))
    talk.wait(59)
    assert talk.all(core.Close) == []
    talk.wait(2)
    assert len(talk.all(core.Close)) == 1
    talk.wait(2)
    assert len(talk.all(core.OpenSocket)) == 2, "the same way again: it had worked"


def test_a_way_that_does_not_get_through_is_left_for_the_next_until_one_works_and_is_tried_again_later() -> None:
    talk = Talk()
    talk.started(ONE)
    for _ in range(2):
        talk.tell(Ended(talk.link, Trouble.BROKEN, "cut in the handshake"))
        talk.wait(5)
    assert len(talk.all(core.OpenSocket)) == 2
    talk.tell(Ended(talk.link, Trouble.REFUSED, "404", status=404))
    talk.wait(0)
    assert "wait=50" in talk.last(core.Ask).path
    assert talk.last(core.Ask).headers["if-none-match"] == '"tag-one"'
    talk.answer(304)
    assert talk.core.following_by == "long-poll"
    talk.wait(73)
    assert len(talk.all(core.OpenSocket)) == 3, "up again"
    talk.connected()
    assert talk.core.following_by == "websocket"


def test_a_climb_that_fails_returns_to_what_worked_without_a_pause_and_is_tried_less_often() -> None:
    talk = Talk(transports=["websocket", "poll"])
    talk.started(ONE)
    talk.tell(Ended(talk.link, Trouble.REFUSED, "no", status=400))
    talk.wait(0)
    talk.answer(304)
    tries = []
    for _ in range(5):
        before, began = len(talk.all(core.OpenSocket)), talk.now
        while len(talk.all(core.OpenSocket)) == before:
            talk.wait(1)
            if isinstance(talk.actions[-1], core.Ask):
                talk.answer(304)
        tries.append(talk.now - began)
        talk.tell(Ended(talk.link, Trouble.BROKEN, "no"))
        talk.wait(0)
        talk.answer(304)
    assert tries == sorted(tries)
    assert tries[0] < 75
    assert tries[-1] > 600


def test_a_server_that_is_away_altogether_does_not_lead_down() -> None:
    talk = Talk()
    talk.started(ONE)
    for _ in range(10):
        talk.tell(Ended(talk.link, Trouble.UNREACHABLE, "refused"))
        talk.wait_for(core.OpenSocket)
    assert len(talk.all(core.OpenSocket)) == 11
    assert talk.all(core.OpenEvents) == []


def test_pauses_grow_to_a_limit_and_what_the_server_asks_for_comes_on_top() -> None:
    talk = Talk()
    talk.started(ONE)
    pauses = []
    for _ in range(8):
        talk.tell(Ended(talk.link, Trouble.UNREACHABLE, "refused"))
        began = talk.now
        talk.wait_for(core.OpenSocket)
        pauses.append(talk.now - began)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    talk.tell(Ended(talk.link, Trouble.BUSY, "503", status=503, retry_after=100))
    assert (talk.core.due or 0) - talk.now == 130


def test_a_goodbye_says_when_to_come_back() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    talk.frames({"type": "goodbye", "code": 1012, "retry_ms": 4200})
    talk.tell(Ended(talk.link, Trouble.BROKEN, "closed", code=1012))
    assert (talk.core.due or 0) - talk.now == pytest.approx(4.2)


@pytest.mark.parametrize("code", [1002, 1007, 1009, 4400, 4502])
def test_a_close_code_that_blames_this_client_leads_to_another_way(code: int) -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    talk.tell(Ended(talk.link, Trouble.BROKEN, "closed", code=code))
    talk.wait(1)
    assert len(talk.all(core.OpenEvents)) == 1


def test_a_topic_that_is_refused_is_asked_for_again_after_the_longest_pause() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    talk.frames({"type": "error", "code": "forbidden", "topic": TOPIC, "retry": False})
    assert len(talk.all(core.Close)) == 1
    assert (talk.core.due or 0) - talk.now == 30


def test_a_token_is_renewed_in_band_and_asked_for_again_while_there_is_no_new_one() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    talk.frames({"type": "auth_expiring", "in_ms": 60_000})
    assert len(talk.all(core.Renew)) == 1
    talk.tell(core.Renewed(talk.link, new=False))
    talk.wait(13)
    assert len(talk.all(core.Renew)) == 2
    talk.tell(core.Renewed(talk.link, new=True))
    talk.wait(30)
    assert len(talk.all(core.Renew)) == 2


def test_an_event_stream_comes_back_under_its_new_token_before_the_old_one_ends() -> None:
    talk = Talk(transports=["sse"])
    talk.started(ONE)
    talk.connected()
    talk.frames({"type": "auth_expiring", "in_ms": 60_000})
    talk.tell(core.Renewed(talk.link, new=True))
    talk.wait(0)
    assert len(talk.all(core.OpenEvents)) == 2
    assert f"etag={etag('one')}" in talk.last(core.OpenEvents).path


def test_an_event_streams_acknowledgement_goes_by_http_when_the_stream_is_known() -> None:
    talk = Talk(transports=["sse"])
    talk.started(ONE)
    talk.connected()
    assert talk.last(core.Ask).method == "GET"
    talk.wait(2)
    ask = talk.last(core.Ask)
    assert (ask.method, ask.path) == ("POST", "/v1/acks")


def test_beside_a_stream_it_asks_every_five_minutes_and_takes_what_the_stream_has_lost() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    while len(talk.all(core.Ask)) == 1:
        talk.wait(10)
        talk.frames(sync(1))
    assert 299 < talk.now - 1000 < 371
    talk.answer(200, body(TWO, "two"), number=2)
    assert talk.held.config == TWO
    talk.frames(put(TWO, "two"), sync(2))
    assert len(talk.all(core.Judge)) == 2


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refusal_that_asking_again_cannot_mend_is_raised(status: int) -> None:
    talk = Talk()
    talk.tell(core.Fetch(cached=_cached()))
    talk.answer(status, b'{"type": "urn:config-server:forbidden", "detail": "no grant"}')
    error = talk.last(core.Fetched).error
    assert isinstance(error, ConfigRefused)
    assert (error.status, error.type) == (status, "forbidden")


@pytest.mark.parametrize("status", [401, 422, 429, 500, 502, 503])
def test_a_document_on_disk_stands_in_for_a_server_that_cannot_answer(status: int) -> None:
    talk = Talk()
    talk.tell(core.Fetch(cached=_cached()))
    talk.answer(status, b"<html>")
    assert talk.last(core.Fetched).error is None
    assert (talk.held.config, talk.core.stale(talk.now)) == (ONE, ("disk",))
    assert talk.all(core.Save) == []
    talk.tell(core.Listen())
    talk.wait(0)
    talk.connected()
    assert talk.core.stale(talk.now) == (), "the stream has said that it is what the server has"


def test_a_document_on_disk_that_the_server_confirms_is_not_sent_again() -> None:
    talk = Talk()
    talk.tell(core.Fetch(cached=_cached()))
    assert talk.last(core.Ask).headers["if-none-match"] == '"tag-one"'
    talk.answer(304)
    assert (talk.held.config, talk.core.stale(talk.now)) == (ONE, ())


def test_a_304_to_a_question_that_named_nothing_is_no_answer() -> None:
    talk = Talk()
    talk.tell(core.Fetch())
    talk.answer(304)
    assert talk.all(core.Fetched) == []
    talk.wait_for(core.Ask)
    talk.answer(200, body(ONE, "one"))
    assert talk.last(core.Fetched).error is None


def test_who_wants_to_fail_fast_gets_the_first_failure() -> None:
    talk = Talk(fail_fast=True)
    talk.tell(core.Fetch(cached=_cached()))
    talk.tell(core.Failed(talk.last(core.Ask).ask, "no answer: ConnectError"))
    assert isinstance(talk.last(core.Fetched).error, ConfigUnavailable)


def test_without_a_document_on_disk_it_is_asked_again_until_the_time_is_over() -> None:
    talk = Talk(timings=Timings(initial=30))
    talk.tell(core.Fetch())
    while not talk.all(core.Fetched):
        if isinstance(talk.actions[-1], core.Note):
            talk.wait(0.5)
        else:
            talk.tell(core.Failed(talk.last(core.Ask).ask, "no answer: ConnectError"))
    assert talk.now - 1000 == pytest.approx(30, abs=1)
    assert len(talk.all(core.Ask)) == 5
    assert "ConnectError" in str(talk.last(core.Fetched).error)


def test_what_nobody_confirms_for_long_is_stale() -> None:
    talk = Talk()
    talk.started(ONE)
    talk.connected()
    talk.wait(119)
    assert talk.core.stale(talk.now) == ()
    talk.wait(2)
    assert talk.core.stale(talk.now) == ("unconfirmed",)


def _cached() -> Document:
    return Document(TOPIC, ONE, etag("one"), commit("one"), commit("one"), rev(1), tag='"tag-one"', on_disk=True)
