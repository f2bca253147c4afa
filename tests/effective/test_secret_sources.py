"""Whole documents as sources: which paths a target has, and what no template may say."""

from __future__ import annotations

import pytest

from app.effective import SecretSources
from app.model import Target

SPRING = ("kv/{service},{env}", "kv/{service}", "files", "kv/application,{env}", "kv/application")


def told(templates: tuple[str, ...], service: str = "pay", *envs: str) -> list[tuple[str, str, bool]]:
    target = Target(service, envs or ("prod",), "main")
    return [(str(each.path), each.name, each.above) for each in SecretSources(templates).of(target)]


def test_the_paths_of_springs_own_backend() -> None:
    assert told(SPRING) == [
        ("kv/pay,prod", "vault:pay,prod", True),
        ("kv/pay", "vault:pay", True),
        ("kv/application,prod", "vault:application,prod", False),
        ("kv/application", "vault:application", False),
    ]


def test_without_the_word_files_all_stand_above_them() -> None:
    assert told(("kv/x/{service}/{env}",)) == [("kv/x/pay/prod", "vault:pay,prod", True)]


def test_of_several_envs_and_services_the_last_is_the_strongest_and_each_document_comes_once() -> None:
    assert [each[0] for each in told(SPRING, "a,b", "x", "y")] == [
        *("kv/b,y", "kv/a,y", "kv/b,x", "kv/a,x", "kv/b", "kv/a"),
        *("kv/application,y", "kv/application,x", "kv/application"),
    ]


def test_names_are_told_apart_and_hold_no_whole_path() -> None:
    assert [each[1] for each in told(("kv/one/{service}", "kv/two/{service}", "kv/secret/place"))] == [
        *("vault:pay", "vault:pay#2", "vault:place"),
    ]


def test_a_service_that_is_no_plain_name_has_none() -> None:
    assert told(SPRING, "team/pay") == []


@pytest.mark.parametrize(
    "template",
    [
        *("kv", "kv/", "/x", "kv//x", "kv/../x", "kv/.x", "kv/x/", "KV/x", "kv/{label}", "kv/{service}-{env}"),
        *(
            "kv/a{service}",
            "kv/{service}*",
            "kv/*",
            "kv/a b",
            "kv/,",
            "kv/{service},",
            "kv/%2e",
            "kv/" + "/".join("a" * 16),
        ),
    ],
)
def test_a_template_that_is_none_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="is not alias/path"):
        SecretSources((template,))
