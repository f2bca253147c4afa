"""Whom a file concerns: the reverse of a target's candidates."""

from __future__ import annotations

import itertools

import pytest

from app.effective import (
    EVERYTHING,
    EditRefused,
    Layout,
    Reach,
    candidates,
    check_path,
    check_unmasked,
    folders_of,
    locations,
)
from app.model import Blob, Target

KNOWN = Layout(("",), ("prod", "dev"))


@pytest.mark.parametrize(
    ("path", "reaches"),
    [
        ("pay.yml", {Reach("pay", None)}),
        ("pay-prod.properties", {Reach("pay", "prod")}),
        ("pay-admin-prod.yml", {Reach("pay-admin", "prod")}),
        ("pay-stage.yml", {Reach("pay-stage", None)}),
        ("application.yml", {EVERYTHING}),
        ("application-prod.yml", {Reach(None, "prod")}),
        ("logback.xml", {EVERYTHING}),
        ("deep/er/pay.yml", {EVERYTHING}),
        (".config-server/freeze.toml", {EVERYTHING}),
    ],
)
def test_file_in_the_root_concerns(path: str, reaches: set[Reach]) -> None:
    assert KNOWN.reaches(path) == reaches


def test_while_envs_are_unknown_every_reading_counts() -> None:
    readings = Layout(("",), ()).reaches("pay-admin-prod.yml")
    assert readings == {Reach("pay-admin-prod", None), Reach("pay", "admin-prod"), Reach("pay-admin", "prod")}


@pytest.mark.parametrize(
    ("path", "reaches"),
    [
        ("services/pay/application.yml", {Reach("pay", None)}),
        ("services/pay/pay-prod.yml", {Reach("pay", "prod")}),
        ("services/pay/logback.xml", {Reach("pay", None)}),
        ("services/pay/certs/a.pem", {Reach("pay", None)}),
        ("by-env/prod/pay.yml", {Reach("pay", "prod")}),
        ("by-env/prod/pay-dev.yml", {Reach("pay", "prod"), Reach("pay", "dev")}),
        ("by-env/prod/x.txt", {Reach(None, "prod")}),
        ("elsewhere/x.txt", set()),
        ("pay.yml", set()),
    ],
)
def test_folders_that_are_named_after_something_narrow_it(path: str, reaches: set[Reach]) -> None:
    layout = Layout(("common", "services/{service}", "by-env/{env}"), ("prod", "dev"))
    assert layout.reaches(path) == reaches


@pytest.mark.parametrize("envs", [(), ("prod", "eu-west")])
@pytest.mark.parametrize(
    "paths",
    [
        ("",),
        ("", "services/{service}"),
        ("{env}", "a/{service}/{env}"),
        ("{label}",),
        ("{label}/{service}", ""),
        ("of/{env}-{service}",),
        ("{service}-{env}/{service}",),
        ("{service}{env}",),
        ("{label}-{service}",),
        ("{service}-{label}/{env}",),
    ],
)
def test_every_file_of_a_target_reaches_it(envs: tuple[str, ...], paths: tuple[str, ...]) -> None:
    layout = Layout(paths, envs)
    for service, label in itertools.product(("pay", "pay-admin", "x.y", "prod"), ("main", "pay/x", "a/pay", "x-y")):
        for asked in (("prod",), ("eu-west",), ("eu-west", "prod")):
            target = Target(service, asked, label)
            plain = [f"{folder}/below/logback.xml".strip("/") for folder in locations(target, paths)]
            for path in (*(candidate.path for candidate in candidates(target, paths)), *plain):
                reaches = layout.reaches(path)
                assert any(reach.covers(service, env) for reach in reaches for env in asked), path


def test_folder_that_names_service_and_env_is_read_by_the_legal_envs() -> None:
    layout = Layout(("of/{env}-{service}", "{service}-{env}"), ("prod", "eu-west"))
    assert layout.reaches("of/prod-pay-admin/application.yml") == {Reach("pay-admin", "prod")}
    assert layout.reaches("pay-eu-west/logback.xml") == {Reach("pay", "eu-west")}
    assert layout.targets(["of/prod-pay-admin/application.yml"]) == {("pay-admin", "prod"), ("pay-admin", "eu-west")}
    assert Layout(("{label}-{service}",), ("prod",)).reaches("a-b-pay/logback.xml") == {EVERYTHING}


def test_known_targets_are_services_times_envs() -> None:
    paths = ["application.yml", "pay.yml", "pay-prod.yml", "pay-admin.yml", "only-dev.json", "x.txt", "a/b.yml"]
    assert KNOWN.targets(paths) == {(s, e) for s in ("pay", "pay-admin", "only") for e in ("prod", "dev")}


def test_envs_are_found_in_the_names_of_files_where_none_are_listed() -> None:
    layout = Layout(("", "services/{service}"), ())
    assert layout.targets(["application-qa.yml", "pay.yml"]) == {("pay", "qa")}
    assert layout.targets(["pay.yml", "pay-qa.yml", "other.yml"]) == {("pay", "qa"), ("other", "qa")}
    assert layout.targets(["services/shop/application.yml", "application-qa.yml"]) == {("shop", "qa")}
    assert layout.targets(["pay.yml", "other-thing.yml"]) == frozenset()


BLOBS = {
    "a.yml": Blob("100644", "0" * 40),
    "dir/b.yml": Blob("100755", "0" * 40),
    "link": Blob("120000", "0" * 40),
    "sub": Blob("160000", "0" * 40),
}


@pytest.mark.parametrize("path", ["a.yml", "dir/b.yml", "dir/new.yml", "new/deep/x.txt", ".config-server/freeze.toml"])
def test_plain_file_may_be_changed(path: str) -> None:
    check_path(path, BLOBS, folders_of(BLOBS))


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a//b", "../a", "a/../b", "./a", "a\\b", "a\nb", "a\0b", "x" * 600, ".env", "dir/.hidden/x",
     ".git/config", "dir/.GIT/x", "git~1/x", ".config-server/.x", ".config-serverx/y", "x/.config-server/y",
     "link", "sub", "link/x", "sub/x", "a.yml/x", "dir", "a\u202eb"],
)  # fmt: skip
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(EditRefused):
        check_path(path, BLOBS, folders_of(BLOBS))


def test_document_that_was_read_masked_is_refused_with_its_line() -> None:
    with pytest.raises(EditRefused, match="line 2 holds"):
        check_unmasked(b"a: 1\npassword: '******'\n")
    check_unmasked(b"/*******\n * a banner\n ********/ \xff\n")


def test_a_path_is_named_as_the_search_path_with_a_star_names_it() -> None:
    layout = Layout(("", "teams/*", "*/of/{service}", "x-*-*/{label}"), ())
    assert layout.starred(["teams/a/pay.yml"]) == {"teams/*/pay.yml"}
    assert layout.starred(["z/of/pay/pay.yml", "pay.yml"]) == {"*/of/pay/pay.yml"}
    assert layout.starred(["x-1-2/feature/y/pay.yml"]) == {"x-*-*/feature/y/pay.yml"}
    assert layout.starred(["teams/.a/pay.yml", "teams/a/b/pay.yml"]) == frozenset()
    assert Layout(("",), ()).starred(["teams/a/pay.yml"]) == frozenset()


def test_a_file_below_a_star_concerns_whom_it_names() -> None:
    layout = Layout(("teams/*",), ("prod",))
    assert layout.reaches("teams/a/pay-prod.yml") == {Reach("pay", "prod")}
    assert layout.targets(["teams/a/pay.yml", "teams/b/shop-prod.yml"]) == {("pay", "prod"), ("shop", "prod")}


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("pay.json", True),
        ("teams/a/x.toml", True),
        ("static/x.json", False),
        ("teams/a/b/x.yml", False),
        ("x.txt", False),
    ],
)
def test_configuration_lies_in_search_paths_alone(path: str, is_one: bool) -> None:
    assert Layout(("", "teams/*"), ()).is_configuration(path) == is_one


def test_default_is_an_env_where_envs_are_listed() -> None:
    assert KNOWN.reaches("pay-default.yml") == {Reach("pay", "default")}
