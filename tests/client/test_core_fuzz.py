"""Whatever comes, in whatever order: the core goes on, and ends with what the server has."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from config_client import core
from tests.client.talk import TOPIC, Talk, body, change, etag, put, rev, sync
from tests.effective.strategies import relaxed

CONFIGS = {name: {"n": number, "db": {"pool": number}} for number, name in enumerate(("one", "two", "three"))}
NAMES = st.sampled_from(sorted(CONFIGS))
REVS = st.integers(1, 9)

frames = st.one_of(
    st.builds(lambda name: put(CONFIGS[name], name), NAMES),
    st.builds(lambda name: {**put(CONFIGS[name], name), "sum": "0" * 64}, NAMES),
    st.builds(
        lambda old, new: change(
            "patch",
            new,
            base=etag(old),
            patch=[
                {"op": "replace", "path": "/n", "value": CONFIGS[new]["n"]},
                {"op": "replace", "path": "/db/pool", "value": CONFIGS[new]["n"]},
            ],
            sum=put(CONFIGS[new], new)["sum"],
        ),
        NAMES,
        NAMES,
    ),
    st.builds(lambda name: change("state", name), NAMES),
    st.builds(lambda name: {**change("del", name), "version": "", "head": ""}, NAMES),
    st.builds(sync, REVS),
    st.builds(lambda number: {"type": "hello", "conn": "c", "rev": rev(number), "hb_ms": 20000}, REVS),
    st.just({"type": "subscribed", "topics": [TOPIC], "mode": "full"}),
    st.builds(lambda ms: {"type": "auth_expiring", "in_ms": ms}, st.integers(0, 60_000)),
    st.builds(lambda ms: {"type": "goodbye", "code": 1012, "retry_ms": ms}, st.integers(0, 5000)),
    st.builds(lambda retry: {"type": "error", "code": "forbidden", "topic": TOPIC, "retry": retry}, st.booleans()),
)
#: What happens next: (what, with what).
steps = st.lists(
    st.one_of(
        st.tuples(st.just("frame"), frames),
        st.tuples(
            st.just("text"), st.sampled_from(["", "{}", "[]", '{"type":"sync"}', '{"type":"change","op":"put"}', "x"])
        ),
        st.tuples(st.just("open"), st.none()),
        st.tuples(
            st.just("end"), st.tuples(st.sampled_from(core.Trouble), st.sampled_from([0, 1006, 4401, 4403, 4502]))
        ),
        st.tuples(st.just("answer"), st.tuples(st.sampled_from([200, 304, 401, 403, 404, 500, 503]), NAMES, REVS)),
        st.tuples(st.just("fail"), st.none()),
        st.tuples(st.just("renewed"), st.booleans()),
        st.tuples(st.just("judge"), st.booleans()),
        st.tuples(st.just("wait"), st.integers(0, 400)),
    ),
    max_size=40,
)


class Play(Talk):
    """Plays steps; the program's judgement waits for its step."""

    def step(self, what: str, given: Any) -> None:
        getattr(self, f"play_{what}")(given)
        held = self.core.held
        assert held is None or held.config in CONFIGS.values()
        assert held is None or held.config == CONFIGS[_name_of(held.etag)], "never half of another"

    def play_frame(self, frame: Any) -> None:
        if self._opened():
            self.frames(frame)

    def play_text(self, text: str) -> None:
        if self._opened():
            self.tell(core.Received(self.link, text))

    def play_open(self, _: None) -> None:
        if self._opened():
            self.tell(core.Opened(self.link))

    def play_end(self, given: tuple[core.Trouble, int]) -> None:
        if self._opened():
            self.tell(core.Ended(self.link, given[0], "over", code=given[1]))

    def play_answer(self, given: tuple[int, str, int]) -> None:
        if self.all(core.Ask):
            status, name, number = given
            self.answer(status, body(CONFIGS[name], name), number, etag=f'"{name}"')

    def play_fail(self, _: None) -> None:
        if self.all(core.Ask):
            self.tell(core.Failed(self.last(core.Ask).ask, "no answer"))

    def play_renewed(self, new: bool) -> None:
        if self._opened():
            self.tell(core.Renewed(self.link, new))

    def play_judge(self, takes: bool) -> None:
        if self.all(core.Judge):
            self.tell(core.Judged(self.last(core.Judge).new.etag, None if takes else "no"))

    def play_wait(self, seconds: int) -> None:
        self.wait(seconds)

    @property
    def held_or_none(self) -> Any:
        return self.core.held and self.core.held.config

    def answer_all(self, status: int, data: bytes, number: int) -> None:
        """To every question that was asked so far; those that have their answer are not heard again."""
        for ask in self.all(core.Ask):
            self.tell(core.Answered(ask.ask, status, {"x-config-rev": rev(number), "etag": '"last"'}, data))

    def _opened(self) -> bool:
        return any(isinstance(action, core.OpenSocket | core.OpenEvents) for action in self.actions)


def _name_of(tag: str) -> str:
    return next(name for name in CONFIGS if etag(name) == tag)


@relaxed
@given(steps, st.booleans())
def test_whatever_comes_it_goes_on_and_ends_with_what_the_server_has(
    played: list[tuple[str, Any]], takes: bool
) -> None:
    play = Play(takes=takes)
    play.tell(core.Fetch())
    play.tell(core.Listen())
    for what, given_step in played:
        play.step(what, given_step)
    play.takes = True
    play.play_judge(True)  # what is being looked at is taken; then the server says something newer than all
    last = {"n": 99, "db": {"pool": 99}}
    for _ in range(1000):
        if play.held_or_none == last:
            return
        play.wait_for_any()
        play.answer_all(200, body(last, "last"), 50)
        if isinstance(play.actions[-1], core.OpenSocket | core.OpenEvents):
            play.connected(50, put(last, "last"))
    raise AssertionError(f"it does not come to an end: {play.actions[-5:]}")
