"""Which services and envs there are, as the operator's settings say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack.issuer import LocalIssuer
from tests.serving import Serving, serving

FILES = {
    "application.yml": "shared: 1\n",
    "pay.yml": "n: 1\n",
    "pay-admin-prod.yml": "secret: of the admin\n",
    "pay-prod.yml": "n: 2\n",
    "folders/blog/application.yml": "n: 3\n",
    "folders/blog/application-prod.yml": "n: 4\n",
}


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Serving]:
    """ENVS names the envs, and a service must be configured."""
    settings: dict[str, Any] = {
        "envs": ("prod", "eu-west"),
        "accept_empty": False,
        "search_paths": ("", "folders/{service}"),
    }
    with serving(tmp_path_factory.mktemp("listed"), issuer, FILES, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def unlisted(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("unlisted"), issuer, FILES) as running:
        yield running


@pytest.mark.parametrize("coordinates", ["pay/staging", "pay/prod,staging", "pay/admin-prod", "pay-admin/west"])
def test_an_env_that_is_not_listed_is_404(listed: Serving, coordinates: str) -> None:
    answer = listed.get(coordinates)

    assert (answer.status_code, answer.json()["type"]) == (404, "urn:config-server:unknown-target")


@pytest.mark.parametrize(
    "coordinates", ["pay-admin-prod/prod", "pay-prod/prod", "pay-eu-west/prod", "pay-prod/eu-west"]
)
def test_a_service_that_ends_like_an_env_is_404(listed: Serving, coordinates: str) -> None:
    assert listed.get(coordinates).status_code == 404


def test_a_listed_env_may_hold_a_hyphen(listed: Serving) -> None:
    assert listed.config("pay/eu-west", token=listed.token("config:read:pay")) == {"shared": 1, "n": 1}


@pytest.mark.parametrize("scope", ["config:read:pay", "config:read:p*", "config:read:pay/*", "config:read:pay/*-prod"])
def test_names_that_run_together_are_refused_while_no_envs_are_listed(unlisted: Serving, scope: str) -> None:
    assert unlisted.get("pay/admin-prod", token=unlisted.token(scope)).status_code == 403
    assert unlisted.get("pay/prod", token=unlisted.token(scope)).status_code == (403 if "-prod" in scope else 200)


def test_an_exact_env_is_a_grant_for_it(unlisted: Serving) -> None:
    token = unlisted.token("config:read:pay/admin-prod")

    assert unlisted.config("pay/admin-prod", token=token)["secret"] == "of the admin"


def test_every_env_of_a_list_must_be_granted(unlisted: Serving) -> None:
    one, both = unlisted.token("config:read:pay/prod"), unlisted.token("config:read:pay/prod config:read:pay/eu")

    assert unlisted.get("pay/prod,eu", token=one).status_code == 403
    assert unlisted.get("pay/prod,eu", token=both).status_code == 200


def test_an_unscoped_read_covers_the_service_of_the_token_and_no_other(unlisted: Serving) -> None:
    named, nameless = unlisted.token("config:read", service="pay"), unlisted.token("config:read")

    assert unlisted.get("pay/prod", token=named).status_code == 200
    assert unlisted.get("blog/prod", token=named).status_code == 403
    assert unlisted.get("pay/prod", token=nameless).status_code == 403


def test_a_service_that_nothing_configures_is_404_where_the_operator_says_so(listed: Serving) -> None:
    answer = listed.get("stranger/prod")

    assert (answer.status_code, answer.json()["type"]) == (404, "urn:config-server:unknown-target")
    assert listed.config("pay/prod")["n"] == 2


def test_a_folder_of_its_own_configures_a_service_too(listed: Serving) -> None:
    assert listed.config("blog/prod") == {"shared": 1, "n": 4}
    assert listed.config("blog/eu-west") == {"shared": 1, "n": 3}


def test_a_service_that_is_unknown_has_no_plain_files(listed: Serving, tmp_path: Path) -> None:
    listed.push({"note.txt": "${shared}\n"})

    assert listed.get("pay/prod/note.txt").text == "1\n"
    assert listed.get("stranger/prod/note.txt").status_code == 404
