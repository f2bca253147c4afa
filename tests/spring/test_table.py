"""What clients of Spring Cloud Config get, case by case, against answers written by hand from the rule each names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
import yaml

from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from tests.serving import VIEW_ALL, Serving, serving_origin
from tests.spring.table import CASES, SECTIONS, Case

URI = "origin.git"
V2 = "application/vnd.spring-cloud.config-server.v2+json"


class Servers:
    """One server for each section, started when a case of it is asked for."""

    def __init__(self, factory: pytest.TempPathFactory, issuer: LocalIssuer, closing: ExitStack) -> None:
        self._factory = factory
        self._issuer = issuer
        self._closing = closing
        self._running: dict[str, Serving] = {}

    def of(self, name: str) -> Serving:
        if name not in self._running:
            section = next(each for each in SECTIONS if each.name == name)
            directory = self._factory.mktemp(name)
            origin = OriginRepo(directory / "origin")
            origin.write({"application.yml": "default: branch\n"}, "the default branch")
            section.publish(origin)
            server = serving_origin(directory, self._issuer, origin, **section.settings(directory))
            self._running[name] = self._closing.enter_context(server)
        return self._running[name]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Servers]:
    with ExitStack() as closing:
        yield Servers(tmp_path_factory, issuer, closing)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_answer_is_what_the_rule_says(servers: Servers, case: Case) -> None:
    serving = servers.of(case.section)
    token = serving.token(f"{VIEW_ALL} config:view config:read:*/*")
    answer = serving.ask(f"/spring{case.path}", token=token, headers=dict(case.headers))
    expected = {"status": 200, **case.expected}
    assert answer.status_code == expected.pop("status"), answer.text
    for what, value in expected.items():
        wanted = json.dumps(json.loads(value), sort_keys=True) if what == "json" else value
        assert _LOOKS[what](answer, case) == _typed(wanted)


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 80


def _sources(answer: httpx.Response, _case: Case) -> object:
    sources = answer.json()["propertySources"]
    return _typed([[each["name"].removeprefix(f"{URI}/"), each["source"]] for each in sources])


def _document(answer: httpx.Response, _case: Case) -> object:
    media = answer.headers["Content-Type"].partition(";")[0]
    found = answer.json() if media == "application/json" else yaml.safe_load(answer.text)
    return _typed(json.dumps(found, sort_keys=True))


_LOOKS: dict[str, Callable[[httpx.Response, Case], object]] = {
    "sources": _sources,
    "json": _document,
    "text": lambda answer, _: _typed(answer.text),
    "names": lambda answer, _: _typed([each["name"] for each in answer.json()["propertySources"]]),
    "type": lambda answer, _: _typed(answer.headers["Content-Type"].replace("; charset=utf-8", "")),
    "member": lambda answer, _: _typed({name: answer.json()[name] for name in ("name", "profiles", "state")}),
    "label": lambda answer, case: _typed(answer.json()["label"].replace(case.label, "{label}")),
}


def _typed(value: Any) -> object:
    """The value with its types spelled out, as 1 == 1.0 == True in Python; keys in any order."""
    if isinstance(value, dict):
        return {key: _typed(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_typed(child) for child in value]
    return type(value).__name__, value
