"""Which paths reach which target."""

from __future__ import annotations

import time

import pytest

from app.model import Reference, Target
from app.secrets import PathPolicy

DEFAULTS = ("services/{service}/{env}/**", "services/{service}/common/**", "shared/{env}/**", "shared/common/**")


def reference(path: str) -> Reference:
    return Reference("kv", path, "password", None, "${vault:kv/" + path + "#password}")


def allows(templates: tuple[str, ...], path: str, service: str = "pay", envs: tuple[str, ...] = ("prod",)) -> bool:
    return PathPolicy(templates).allows(reference(path), Target(service, envs, "main"))


@pytest.mark.parametrize(
    "path",
    ["services/pay/prod/db", "services/pay/prod/a/b/c", "services/pay/common/x", "shared/prod/x", "shared/common/x"],
)
def test_default_templates_give_a_target_its_own_and_the_shared_secrets(path: str) -> None:
    assert allows(DEFAULTS, path)


@pytest.mark.parametrize(
    "path",
    [
        "services/other/prod/db",
        "services/pay/dev/db",
        "services/payroll/prod/db",
        "services/pay/prod",
        "services/pay",
        "shared/dev/x",
        "shared/prod",
        "SERVICES/pay/prod/db",
        "x/services/pay/prod/db",
    ],
)
def test_default_templates_refuse_what_belongs_to_others(path: str) -> None:
    assert not allows(DEFAULTS, path)


@pytest.mark.parametrize(
    "path",
    [
        "services/pay/prod/../../other/prod/db",
        "services/pay/prod/..",
        "services/pay/prod/./db",
        "services/pay/prod//db",
        "/services/pay/prod/db",
        "services/pay/prod/db/",
        "services/pay/prod/%2e%2e/db",
        "services/pay/prod/a b",
        "services/pay/prod/db\n",
        "services/pay/prod/.hidden",
        "services/pay/prod/d\u00e9",
        "services/pay/prod/" + "/".join("abcdefghijklm"),
        "services/pay/prod/" + "a" * 129,
        "",
    ],
)
def test_path_outside_the_grammar_is_refused_even_under_a_template_for_everything(path: str) -> None:
    assert not allows((*DEFAULTS, "**"), path)


def test_with_several_envs_any_of_them_opens_its_own_paths_only() -> None:
    envs = ("prod", "eu")
    assert allows(DEFAULTS, "services/pay/eu/db", envs=envs)
    assert allows(DEFAULTS, "services/pay/prod/db", envs=envs)
    assert not allows(DEFAULTS, "services/pay/prod,eu/db", envs=envs)
    assert not allows(("{env}/{env}",), "prod/eu", envs=envs)


@pytest.mark.parametrize("name", ["a+b", "a.b", "a@b", "a-b"])
def test_name_is_a_literal_whatever_its_characters_mean_elsewhere(name: str) -> None:
    assert not allows(DEFAULTS, "services/aab/prod/db", service=name)
    assert not allows(DEFAULTS, "services/axb/prod/db", service=name)
    assert allows(DEFAULTS, f"services/{name}/prod/db", service=name) is (name in ("a.b", "a-b"))


@pytest.mark.parametrize("name", ["*", "**", "{env}", "..", "a/b", "", "p*"])
def test_name_that_is_no_name_opens_nothing(name: str) -> None:
    assert not allows(DEFAULTS, "services/pay/prod/db", service=name)
    assert not allows(DEFAULTS, "shared/common/db", service=name)
    assert not allows(DEFAULTS, "services/pay/prod/db", envs=(name,))


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("a/*/c", "a/b/c", True),
        ("a/*/c", "a/b/b/c", False),
        ("a/*", "a", False),
        ("a/db-*", "a/db-main", True),
        ("a/db-*", "a/db-", True),
        ("a/db-*", "a/xdb-main", False),
        ("a/*-db-*", "a/x-db-y", True),
        ("a/*ab*ab", "a/abab", True),
        ("a/*ab*ab", "a/ab", False),
        ("a/*a*b*c*", "a/xaxbxcx", True),
        ("a/*a*b*c*", "a/xaxcxbx", False),
        ("**", "a", True),
        ("**", "a/b/c", True),
        ("**/c", "c", False),
        ("**/c", "a/b/c", True),
        ("a/**/c", "a/c", False),
        ("a/**/c", "a/b/c", True),
        ("a/**/c/**/e", "a/c/c/c/d/e", True),
        ("a/**/c/**/e", "a/c/d/e", False),
        ("exact/path", "exact/path", True),
        ("exact/path", "exact/path/more", False),
        ("{service}-db/x", "pay-db/x", True),
        ("{service}-db/x", "payx-db/x", False),
    ],
)
def test_wildcards_match_as_documented(template: str, path: str, expected: bool) -> None:
    assert allows((template,), path) is expected


def test_no_template_allows_nothing() -> None:
    assert not allows((), "shared/common/x")


@pytest.mark.parametrize(
    "template",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "a/../b",
        "./a",
        "a/***",
        "a/**b",
        "a/b**c",
        "a/{label}/b",
        "a/{}/b",
        "a/{service",
        "a/service}",
        "a/{SERVICE}",
        "a b",
        "a?b",
        "a/[ab]",
        "kv:a/b",
        "a/\u00e9",
        "{service}-{env}/x",
        "{service}*/x",
        "*{env}",
    ],
)
def test_bad_template_is_refused_at_construction(template: str) -> None:
    with pytest.raises(ValueError, match="secret path template"):
        PathPolicy(["shared/common/**", template])


def test_hostile_wildcards_take_linear_time() -> None:
    policy = PathPolicy(["/".join(["**", "*a*a*a*a*a*b"] * 7)])
    path = "/".join(["a" * 128] * 15)

    def seconds() -> float:
        started = time.thread_time()  # of the processor: others may have it meanwhile
        assert not policy.allows(reference(path), Target("pay", ("prod",), "main"))
        return time.thread_time() - started

    assert min(seconds() for _ in range(3)) < 0.1
