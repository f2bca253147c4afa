"""The trees of the commits in use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.engine import Schemas
from app.engine.loader import Trees
from app.model import Tree
from app.repository import GitConfigBackend, GitCredentials
from devstack.origin import OriginRepo


class Counting(GitConfigBackend):
    """How often Git is asked what differs between two commits."""

    asked = 0

    def advance(self, tree: Tree, commit: str) -> tuple[Tree, frozenset[str]]:
        self.asked += 1
        return super().advance(tree, commit)


@pytest.fixture
def origin(tmp_path: Path) -> OriginRepo:
    return OriginRepo(tmp_path / "origin")


@pytest.fixture
def backend(tmp_path: Path, origin: OriginRepo) -> Iterator[Counting]:
    timeouts: dict[str, Any] = {"timeout": 60, "clone_timeout": 60}
    made = Counting(origin.url, tmp_path / "mirror", credentials=GitCredentials(), **timeouts)
    yield made
    made.close()


def test_two_commits_are_compared_once_whoever_asks_first(backend: Counting, origin: OriginRepo) -> None:
    old, new = origin.write({"a.yml": "a: 1\n", "b.yml": "b: 1\n"}), origin.write({"b.yml": "b: 2\n"})
    backend.fetch()
    trees = Trees(backend, Schemas(backend), lambda _paths: frozenset())
    trees.at(old)

    assert trees.at(new).blobs["a.yml"] == trees.at(old).blobs["a.yml"]
    assert trees.advance(old, new) == frozenset({"b.yml"})
    assert trees.advance(old, new) == frozenset({"b.yml"})

    assert backend.asked == 1
