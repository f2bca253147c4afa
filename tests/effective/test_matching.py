"""Which repositories are meant by a request: the rules of Spring Cloud Config's PatternMatchingJGitEnvironment."""

from __future__ import annotations

import pytest

from app.effective import checked_pattern, matching
from app.effective.matching import matches

MEANT = [
    ("app*", "app", "dev"),
    ("app*", "application-x", "prod"),
    ("*app", "my-app", "dev"),
    ("*pay*", "xpayx", "dev"),
    ("pay", "pay", "anything"),
    ("app*/prod*", "apple", "production"),
    ("*/prod", "anything", "prod"),
    ("pay/prod", "pay", "prod"),
    ("a*c*e", "abcde", "dev"),
    ("*", "x", "y"),
    ("team/*", "team/pay", "dev"),  # a name with a slash, as Spring's clients may ask for
    ("a*a*a", "aaa", "dev"),
]
NOT_MEANT = [
    ("app*", "myapp", "dev"),
    ("app*/prod*", "apple", "dev"),
    ("app*/prod*", "xapple", "prod"),
    ("pay", "payments", "dev"),
    ("pay", "xpay", "dev"),
    ("pay/prod", "pay", "production"),
    ("*/prod", "prod", "dev"),
    ("a*a*a", "aa", "dev"),
    ("Pay*", "pay", "dev"),  # names are told apart by case
    ("p.y", "pay", "dev"),  # and a dot is a dot
    ("pay/p*d", "pay", "prod.x"),
]


@pytest.mark.parametrize(("pattern", "service", "env"), MEANT)
def test_a_pattern_means_these(pattern: str, service: str, env: str) -> None:
    assert matches([checked_pattern(pattern)], [service], [env])


@pytest.mark.parametrize(("pattern", "service", "env"), NOT_MEANT)
def test_a_pattern_does_not_mean_these(pattern: str, service: str, env: str) -> None:
    assert not matches([checked_pattern(pattern)], [service], [env])


def test_of_several_patterns_names_and_profiles_one_of_each_is_enough() -> None:
    assert matches(["x", "pay/prod"], ["shop", "pay"], ["eu", "prod"])
    assert not matches(["x", "pay/prod"], ["shop", "pay"], ["eu", "dev"])
    assert not matches([], ["pay"], ["prod"])


def test_those_that_match_come_in_the_order_of_the_file() -> None:
    repositories = {"second": ["b*"], "first": ["*y"], "all": ["*"], "none": ["zzz"]}
    assert matching(repositories, ["by"], ["dev"]) == ("second", "first", "all")
    assert matching(repositories, ["xx"], ["dev"]) == ("all",)


@pytest.mark.parametrize(
    "text", ["", "/prod", "pay/", "a b", "a,b", "a?", "[ab]", "a\\b", "a\n", "{x}", "\u202epay", "x" * 257]
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"pattern|slash"):
        checked_pattern(text)


def test_many_stars_cost_no_more_than_the_name_is_long() -> None:
    pattern, name = "*a" * 100 + "*b", "a" * 100_000
    assert not matches([pattern], [name], ["dev"])
