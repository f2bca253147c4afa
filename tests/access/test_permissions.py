"""The permission grammar, and who may do what with it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.permissions import Action, allows, holds, matches, parse_grant, parse_grants, view_for
from app.model import Grant, Principal, View


def bearer(*grants: str, service: str | None = None, env: str | None = None) -> Principal:
    return Principal("https://issuer", "tester", parse_grants(grants), 0, service=service, env=env)


@pytest.mark.parametrize(
    ("text", "grant"),
    [
        ("config:read", Grant("read")),
        ("config:view", Grant("view")),
        ("config:write", Grant("write")),
        ("config:audit", Grant("audit")),
        ("config:encrypt", Grant("encrypt")),
        ("config:decrypt", Grant("decrypt")),
        ("config:read:pay", Grant("read", "pay")),
        ("config:read:*", Grant("read", "*")),
        ("config:read:*/*", Grant("read", "*", "*")),
        ("config:read:pay*/prod", Grant("read", "pay*", "prod")),
        ("config:view:*-api/eu-*", Grant("view", "*-api", "eu-*")),
        ("config:write:a.b_c+d@e/x", Grant("write", "a.b_c+d@e", "x")),
    ],
)
def test_a_permission_is_read_as_written(text: str, grant: Grant) -> None:
    assert parse_grant(text) == grant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "config",
        "config:",
        ":read",
        "read",
        "xconfig:read",
        "config:readwrite",
        "config:rea",
        "config:READ",
        "CONFIG:read",
        "Config:Read",
        " config:read",
        "config:read ",
        "config:read\n",
        "config:read\x00",
        "config:read\u00a0",
        "config::read",
        "config:read:",
        "config:read:/",
        "config:read:/prod",
        "config:read:pay/",
        "config:read:pay/prod/x",
        "config:read:pay/prod:x",
        "config:read:pay:prod",
        "config:read:**",
        "config:read:a**b",
        "config:read:pay/**",
        "config:read:?ay",
        "config:read:[a-z]*",
        "config:read:{pay,ship}",
        "config:read:pay,ship",
        "config:read:pay/dev,prod",
        "config:read:!pay",
        "config:read:.*",
        "config:read:../*",
        "config:read:pay\\*",
        "config:read:-pay",
        "config:read:p y",
        "config:read:pay\n",
        "config:read:päy",
        "config:read:" + "a" * 129,
        "config:*",
        "config:*:pay",
        "*",
        "*:*",
        "config:audit:pay",
        "config:encrypt:*",
        "config:decrypt:*/*",
    ],
)
def test_what_is_not_exactly_a_permission_gives_nothing(text: str) -> None:
    assert parse_grant(text) is None
    assert parse_grants([text, "openid", "config:view"]) == (Grant("view"),)


def test_grants_keep_their_order_and_come_once() -> None:
    texts = ["config:write:b", "config:read:a", "email", "config:write:b"]

    assert parse_grants(texts) == (Grant("write", "b"), Grant("read", "a"))


@pytest.mark.parametrize(
    ("glob", "name", "covered"),
    [
        ("pay", "pay", True),
        ("pay", "pay2", False),
        ("pay", "Pay", False),
        ("*", "anything", True),
        ("*", "", True),
        ("pay*", "pay", True),
        ("pay*", "pay-api", True),
        ("pay*", "repay", False),
        ("*pay", "repay", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("ab*ba", "aba", False),
        ("a*b*c", "a-b-c", True),
        ("a*b*c", "acb", False),
        ("a*bc*c", "abc", False),
        ("a.c", "abc", False),
        ("*", "a/b", False),
        ("*", "a,b", False),
        ("a*b", "a/b", False),
        ("a*b", "a,b", False),
        ("*a*", "b", False),
    ],
)
def test_a_glob_covers_whole_names_and_never_a_separator(glob: str, name: str, covered: bool) -> None:
    assert matches(glob, name) is covered


@given(st.text("ab*", min_size=1, max_size=8), st.text("ab/,", max_size=10))
def test_a_glob_means_what_the_regular_expression_means(glob: str, name: str) -> None:
    expected = re.fullmatch("[^/,]*".join(map(re.escape, glob.split("*"))), name) is not None

    assert matches(glob, name) is expected


@pytest.mark.timeout(60)
def test_a_glob_of_many_stars_is_matched_in_no_time() -> None:
    assert not matches("a*" * 63 + "b", "a" * 128)


@pytest.mark.parametrize(
    ("grants", "action", "service", "envs", "allowed"),
    [
        (["config:read:pay"], "read", "pay", "prod", True),
        (["config:read:pay"], "read", "pay", "dev,prod", True),
        (["config:read:pay"], "read", "ship", "prod", False),
        (["config:read:pay/prod"], "read", "pay", "prod", True),
        (["config:read:pay/prod"], "read", "pay", "dev", False),
        (["config:read:pay/prod"], "read", "pay", "dev,prod", False),
        (["config:read:pay/prod"], "read", "pay", "prod,dev", False),
        (["config:read:pay/prod", "config:read:pay/dev"], "read", "pay", "dev,prod", True),
        (["config:read:pay/prod", "config:read:*/dev"], "read", "pay", "dev,prod", True),
        (["config:read:pay/prod", "config:read:ship/dev"], "read", "pay", "dev,prod", False),
        (["config:read:pay/*"], "read", "pay", "prod", True),
        (["config:read:*/*"], "read", "pay", "prod", True),
        (["config:read:*/*"], "read", "a/b", "prod", False),
        (["config:read:*"], "read", "a/b", "prod", False),
        (["config:view"], "view", "a/b", "prod", True),
        (["config:view"], "read", "pay", "prod", False),
        (["config:write"], "read", "pay", "prod", False),
        (["config:write:pay"], "read", "pay", "prod", False),
        (["config:read:pay"], "write", "pay", "prod", False),
        (["config:view:pay"], "write", "pay", "prod", False),
        (["config:write:pay"], "view", "pay", "prod", True),
        (["config:read:pay"], "view", "pay", "prod", True),
        (["config:read:pay/dev", "config:view:pay/prod"], "view", "pay", "dev,prod", True),
        (["config:read:pay/dev", "config:view:pay/prod"], "read", "pay", "dev,prod", False),
        (["config:audit"], "view", "pay", "prod", False),
        (["config:decrypt", "config:encrypt"], "read", "pay", "prod", False),
        ([], "view", "pay", "prod", False),
    ],
)
def test_every_env_must_be_granted(grants: list[str], action: str, service: str, envs: str, allowed: bool) -> None:
    asked = (Action(action), service, envs.split(","))

    assert allows(bearer(*grants), *asked, envs_listed=True) is allowed


def test_no_env_is_never_allowed() -> None:
    assert not allows(bearer("config:view"), Action.VIEW, "pay", (), envs_listed=True)


def test_an_env_list_in_one_text_is_not_an_env() -> None:
    assert not allows(bearer("config:read:pay/*"), Action.READ, "pay", ("dev,prod",), envs_listed=True)


@pytest.mark.parametrize(
    ("grant", "envs", "without_list"),
    [
        ("config:read:pay", "prod", True),
        ("config:read:pay", "admin-prod", False),
        ("config:read:pay/*", "admin-prod", False),
        ("config:read:pay/admin-*", "admin-prod", False),
        ("config:read:pay/*prod", "admin-prod", False),
        ("config:read:*/*", "admin-prod", False),
        ("config:read:pay/admin-prod", "admin-prod", True),
        ("config:read:pay*/admin-prod", "admin-prod", True),
        ("config:read:pay", "prod,admin-prod", False),
        ("config:read:pay", "admin-prod,prod", False),
    ],
)
def test_without_listed_envs_only_an_exact_env_reaches_one_with_a_hyphen(
    grant: str, envs: str, without_list: bool
) -> None:
    """`pay` in `admin-prod` is the file pay-admin-prod.yml, which is `pay-admin` in `prod` as well."""
    asked = (bearer(grant), Action.READ, "pay", envs.split(","))

    assert allows(*asked, envs_listed=False) is without_list
    assert allows(*asked, envs_listed=True) is True


@pytest.mark.parametrize(("grant", "action"), [("config:view", Action.VIEW), ("config:write", Action.WRITE)])
def test_unscoped_view_and_write_cover_everything_hyphens_too(grant: str, action: Action) -> None:
    assert allows(bearer(grant), action, "pay", ("admin-prod",), envs_listed=False)


@pytest.mark.parametrize(
    ("claims", "service", "envs", "setting", "allowed"),
    [
        ({}, "pay", "prod", False, False),
        ({}, "pay", "prod", True, True),
        ({}, "a/b", "admin-prod", True, True),
        ({"env": "prod"}, "pay", "prod", False, False),
        ({"env": "prod"}, "pay", "prod", True, True),
        ({"env": "prod"}, "pay", "dev", True, False),
        ({"service": "pay"}, "pay", "prod", False, True),
        ({"service": "pay"}, "pay", "dev,prod", False, True),
        ({"service": "pay"}, "pay", "admin-prod", False, False),
        ({"service": "pay"}, "pay", "admin-prod", True, False),
        ({"service": "pay"}, "ship", "prod", False, False),
        ({"service": "pay"}, "ship", "prod", True, False),
        ({"service": "pay"}, "pay2", "prod", False, False),
        ({"service": "pay", "env": "prod"}, "pay", "prod", False, True),
        ({"service": "pay", "env": "prod"}, "pay", "dev", False, False),
        ({"service": "pay", "env": "prod"}, "pay", "prod,dev", False, False),
        ({"service": "pay", "env": "admin-prod"}, "pay", "admin-prod", False, True),
    ],
)
def test_unscoped_read_covers_the_service_of_the_token_and_else_nothing_unless_the_setting_says_so(
    claims: dict[str, str], service: str, envs: str, setting: bool, allowed: bool
) -> None:
    asked = (bearer("config:read", **claims), Action.READ, service, envs.split(","))

    assert allows(*asked, envs_listed=False, unscoped_read=setting) is allowed


def test_a_service_claim_without_a_permission_gives_nothing() -> None:
    assert view_for(bearer(service="pay"), "pay", ("prod",), envs_listed=True) is None


@pytest.mark.parametrize(
    ("grants", "envs", "view"),
    [
        (["config:read:pay"], "prod", View.RESOLVED),
        (["config:read:pay", "config:view"], "prod", View.RESOLVED),
        (["config:view:pay"], "prod", View.MASKED),
        (["config:write:pay"], "prod", View.MASKED),
        (["config:read:pay/dev", "config:view"], "prod", View.MASKED),
        (["config:read:pay/dev", "config:view:pay/prod"], "dev,prod", View.MASKED),
        (["config:read:ship", "config:view:ship", "config:audit"], "prod", None),
        ([], "prod", None),
    ],
)
def test_the_view_is_the_fullest_that_all_envs_allow(grants: list[str], envs: str, view: View | None) -> None:
    assert view_for(bearer(*grants), "pay", envs.split(","), envs_listed=True) is view


@pytest.mark.parametrize(
    ("grant", "action", "held"),
    [
        ("config:audit", "audit", True),
        ("config:encrypt", "encrypt", True),
        ("config:encrypt", "decrypt", False),
        ("config:write", "write", True),
        ("config:write:*", "write", True),
        ("config:write:*/*", "write", True),
        ("config:write:*/prod", "write", False),
        ("config:write:pay", "write", False),
        ("config:write:p*", "write", False),
        ("config:view", "write", False),
        ("config:write", "view", True),
        ("config:read:*/*", "view", True),
        ("config:read", "view", False),
        ("config:read", "read", False),
        ("config:write", "audit", False),
    ],
)
def test_what_names_no_target_takes_a_grant_for_all(grant: str, action: str, held: bool) -> None:
    assert holds(bearer(grant, service="pay"), Action(action)) is held
