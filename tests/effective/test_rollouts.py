"""Which instances a rollout chooses, and what its file may say."""

from __future__ import annotations

from itertools import pairwise

import pytest

from app.effective.precedence import candidates
from app.effective.rollouts import MAX_ROLLOUTS, Rollout, read_rollouts
from app.errors import BadConfiguration
from app.model import Target

INSTANCES = [f"pay-{number}" for number in range(2000)]


def rollout(text: str) -> Rollout:
    (found,) = read_rollouts(f'[[rollout]]\nservice = "pay"\nbranch = "next"\n{text}\n'.encode())
    return found


def chosen(text: str) -> set[str]:
    found = rollout(text)
    return {name for name in INSTANCES if found.chooses(name)}


def test_about_so_many_percent_are_chosen_and_the_same_ones_each_time() -> None:
    tenth = chosen("percent = 10")
    assert 140 < len(tenth) < 260
    assert chosen("percent = 10") == tenth
    assert chosen("percent = 0") == set()
    assert chosen("percent = 100") == set(INSTANCES)
    assert 0 < len(chosen("percent = 0.5")) < 30


def test_who_is_chosen_stays_so_while_the_share_grows() -> None:
    shares = [chosen(f"percent = {percent}") for percent in (1, 5, 20, 50, 100)]
    assert all(smaller < larger for smaller, larger in pairwise(shares))


def test_rollouts_choose_others_unless_they_stick_together() -> None:
    assert chosen('percent = 10\nsticky = "a"') == chosen('percent = 10\nsticky = "a"')
    assert len(chosen('percent = 10\nsticky = "a"') & chosen('percent = 10\nsticky = "b"')) < 60


def test_instances_are_named_by_globs() -> None:
    assert chosen('instances = ["pay-7", "pay-19?"]') == {"pay-7", *(f"pay-19{digit}" for digit in range(10))}
    assert len(chosen('instances = ["pay-*"]')) == len(INSTANCES)
    both = chosen('percent = 10\ninstances = ["pay-7"]')
    assert both == chosen("percent = 10") | {"pay-7"}


def test_a_rollout_covers_its_service_in_its_envs() -> None:
    of_one = rollout('percent = 1\nenvs = ["prod"]')
    assert of_one.covers("pay", ("prod",))
    assert not of_one.covers("pay", ("dev",))
    assert not of_one.covers("pay", ("prod", "dev"))
    assert not of_one.covers("shop", ("prod",))
    assert rollout("percent = 1").covers("pay", ("prod", "dev"))


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "x = 1",
        "rollout = 1",
        "[[rollout]]",
        '[[rollout]]\nservice = "pay"\nbranch = "next"',
        '[[rollout]]\nservice = "pay"\nbranch = "a..b"\npercent = 1',
        '[[rollout]]\nservice = "a/b"\nbranch = "next"\npercent = 1',
        '[[rollout]]\nservice = "pay"\nbranch = "next"\npercent = 101',
        '[[rollout]]\nservice = "pay"\nbranch = "next"\npercent = true',
        '[[rollout]]\nservice = "pay"\nbranch = "next"\npercent = nan',
        '[[rollout]]\nservice = "pay"\nbranch = "next"\npercent = "10"',
        '[[rollout]]\nservice = "pay"\nbranch = "next"\ninstances = "pay-1"',
        '[[rollout]]\nservice = "pay"\nbranch = "next"\ninstances = [""]',
        '[[rollout]]\nservice = "pay"\nbranch = "next"\npercent = 1\nenvs = "prod"',
        '[[rollout]]\nservice = "pay"\nbranch = "next"\npercent = 1\nsticky = 7',
        '[[rollout]]\nservice = "pay"\nbranch = "next"\npercent = 1\nunknown = 7',
        '[[rollout]]\nservice = "pay"\nbranch = "next"\npercent = 1\n' * (MAX_ROLLOUTS + 1),
        "a = " + "[" * 10_000,
    ],
)
def test_a_file_that_says_something_else_is_refused(text: str) -> None:
    with pytest.raises(BadConfiguration):
        read_rollouts(text.encode())


def test_an_empty_file_has_no_rollouts() -> None:
    assert read_rollouts(b"") == ()


def test_what_is_given_lies_where_its_branch_has_it() -> None:
    given, asked = Target("pay", ("prod",), "main~next"), Target("pay", ("prod",), "main")
    folders = {path.rpartition("/")[0] for path in (each.path for each in candidates(given, ["{label}"]))}
    assert folders == {"next"}
    assert (given.topic, given.asked_label, given.candidate) == (asked.topic, "main", "next")
