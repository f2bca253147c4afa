"""Which files configure a target, strongest first."""

from __future__ import annotations

import pytest

from app.effective import candidates, checked_search_path, locations
from app.effective.precedence import EXTENSIONS
from app.model import Target

PAY = Target("pay", ("prod",), "main")


def yml_of(target: Target, *search_paths: str) -> list[str]:
    return [each.path for each in candidates(target, search_paths or ("",)) if each.path.endswith(".yml")]


def test_order_of_names_and_extensions() -> None:
    assert yml_of(PAY) == ["pay-prod.yml", "application-prod.yml", "pay.yml", "application.yml"]
    assert [each.path for each in candidates(PAY)][:5] == [
        "pay-prod.properties",
        "pay-prod.yml",
        "pay-prod.yaml",
        "pay-prod.toml",
        "pay-prod.json",
    ]


def test_last_env_of_several_wins() -> None:
    assert yml_of(Target("s", ("a", "b"), "main")) == [
        "s-b.yml",
        "application-b.yml",
        "s-a.yml",
        "application-a.yml",
        "s.yml",
        "application.yml",
    ]


def test_env_in_the_name_beats_location_and_location_beats_name() -> None:
    assert yml_of(PAY, "", "late") == [
        "late/pay-prod.yml",
        "late/application-prod.yml",
        "pay-prod.yml",
        "application-prod.yml",
        "late/pay.yml",
        "late/application.yml",
        "pay.yml",
        "application.yml",
    ]


def test_location_beats_extension() -> None:
    paths = [each.path for each in candidates(PAY, ("", "late"))]
    assert paths.index("late/pay.json") < paths.index("pay.properties")


def test_candidates_know_the_env_in_their_name_and_come_once() -> None:
    found = candidates(Target("application", ("a", "b"), "main"), ("", "./", "."))
    assert len({each.path for each in found}) == len(found) == 3 * len(EXTENSIONS)
    assert [each.env for each in found[::5]] == ["b", "a", None]


def test_search_paths_are_filled_from_the_target() -> None:
    target = Target("pay", ("a", "b"), "feature/x")
    assert locations(target, ("", "envs/{env}", "{label}/{service}")) == ("feature/x/pay", "envs/b", "envs/a", "")


def test_a_star_stands_for_the_folders_that_there_are() -> None:
    folders = frozenset(("teams", "teams/a", "teams/b", "teams/b/c", "teams/.x", "x-pay", "y-pay", "pay"))
    target = Target("pay", ("prod",), "main")
    assert locations(target, ("teams/*",), folders) == ("teams/b", "teams/a")
    assert locations(target, ("*-pay",), folders) == ("y-pay", "x-pay")
    assert locations(target, ("*/a", "*/b/c"), folders) == ("teams/b/c", "teams/a")
    assert locations(target, ("*",), frozenset()) == ()
    assert locations(target, ("teams/*/{service}",)) == ("teams/*/pay",)


def test_of_several_services_the_last_ranks_highest() -> None:
    found = [each.path for each in candidates(Target("pay,shop", ("prod",), "main")) if each.path.endswith(".yml")]
    expected = ["shop-prod", "pay-prod", "application-prod", "shop", "pay", "application"]
    assert found == [f"{name}.yml" for name in expected]
    assert locations(Target("pay,shop", ("prod",), "main"), ("{service}",)) == ("shop", "pay")


def test_values_of_the_target_are_literals() -> None:
    assert locations(Target("a.b+c", ("x@y",), "main"), ("{service}/{env}",)) == ("a.b+c/x@y",)


@pytest.mark.parametrize(
    ("pattern", "normal"),
    [("", ""), (".", ""), ("./a", "a"), ("a/", "a"), ("a//b", "a/b"), ("a/./b", "a/b"), ("{service}", "{service}")],
)
def test_search_path_has_a_normal_form(pattern: str, normal: str) -> None:
    assert checked_search_path(pattern) == normal


@pytest.mark.parametrize(
    "pattern",
    [
        *("/", "/a", "..", "a/../b", ".git", "a/.hidden", "a**", "*/**", "{service}*", "a?", "[a]", "a\\b", "a\nb"),
        *("{x}", "{service", "}", "{}", "{service!r}", "{service.__class__}", "{0}", "{{service}}"),
    ],
)
def test_bad_search_path_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="search path"):
        checked_search_path(pattern)
    with pytest.raises(ValueError, match="search path"):
        candidates(PAY, (pattern,))
