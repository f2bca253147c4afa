"""Fetching what a webhook has announced: without asking first whether there is anything, and to the same end."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import RepositoryUnavailable
from app.repository import GitConfigBackend
from devstack.origin import OriginRepo, git
from tests.repository.conftest import MakeBackend
from tests.repository.test_fetch import put_before_git


@pytest.fixture
def backend(origin: OriginRepo, make_backend: MakeBackend) -> GitConfigBackend:
    return make_backend(origin.url)


def test_it_takes_two_processes_and_a_near_former_head_is_known_without_one(
    tmp_path: Path, origin: OriginRepo, backend: GitConfigBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = origin.write({"a": "1"})
    backend.fetch()
    second = origin.write({"a": "2"})
    started = tmp_path / "started"
    put_before_git(tmp_path / "bin", f'echo "$1" >> {started}', monkeypatch)
    refs = backend.fetch(expecting=True)
    assert (refs.branches, refs.default) == ({"main": second}, "main")
    assert started.read_text().split() == ["fetch", "for-each-ref"]
    started.write_text("")
    assert backend.is_ancestor(first, second)
    assert not {"merge-base", "rev-list"} & set(started.read_text().split())


def test_whatever_has_happened_it_brings_what_asking_first_would(origin: OriginRepo, backend: GitConfigBackend) -> None:
    first = origin.write({"a": "1"})
    origin.branch("gone")
    origin.branch("main")
    origin.tag("moved")
    backend.fetch()
    origin.write({"a": "2"})
    origin.force(first)
    forced = origin.write({"a": "3"})
    origin.tag("moved", message="annotated now")
    git(origin.bare, "update-ref", "-d", "refs/heads/gone")
    refs = backend.fetch(expecting=True)
    assert (refs.branches, refs.tags) == ({"main": forced}, {"moved": forced})
    assert backend.fetch() == refs
    assert backend.fetch(expecting=True) == refs


def test_the_first_push_to_an_empty_repository_tells_its_default_branch(
    tmp_path: Path, make_backend: MakeBackend
) -> None:
    origin = OriginRepo(tmp_path / "trunk", default="trunk")
    backend = make_backend(origin.url)
    assert backend.fetch(expecting=True).default is None
    origin.write({"a": "1"})
    assert backend.fetch(expecting=True).default == "trunk"


def test_a_remote_that_is_away_is_told_and_what_comes_later_is_fetched(
    origin: OriginRepo, backend: GitConfigBackend
) -> None:
    origin.write({"a": "1"})
    backend.fetch()
    away = origin.bare.with_suffix(".away")
    origin.bare.rename(away)
    for _ in range(4):
        with pytest.raises(RepositoryUnavailable):
            backend.fetch(expecting=True)
    away.rename(origin.bare)
    second = origin.write({"a": "2"})
    assert backend.fetch(expecting=True).branches == {"main": second}


def test_a_former_head_that_is_far_back_is_found_too(origin: OriginRepo, backend: GitConfigBackend) -> None:
    commits = [origin.write({"a": str(number)}) for number in range(20)]
    origin.force(commits[0])
    other = origin.write({"b": "1"})
    origin.branch("kept")
    origin.force(commits[-1])
    backend.fetch()
    assert backend.is_ancestor(commits[0], commits[-1])
    assert not backend.is_ancestor(other, commits[-1])
