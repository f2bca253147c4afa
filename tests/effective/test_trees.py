"""Input trees beside the expected outcome: `trees/<case>/` holds files and `expected.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.effective import as_written
from app.errors import BadConfiguration
from app.model import Effective
from tests.effective.folding import effective_of, typed

TREES = sorted(path.parent for path in Path(__file__).parent.glob("trees/*/expected.json"))


def read_case(tree: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    files = {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    return files, json.loads(files.pop("expected.json"))


def fold_case(files: dict[str, bytes], expected: dict[str, Any]) -> Effective:
    return effective_of(files, expected["service"], expected["envs"], expected["search_paths"])


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
def test_tree_folds_into_what_is_expected_beside_it(tree: Path) -> None:
    files, expected = read_case(tree)
    if "error" in expected:
        with pytest.raises(BadConfiguration) as caught:
            fold_case(files, expected)
        found = {"path": caught.value.path, "line": caught.value.line, "reason": caught.value.reason}
        assert found == expected["error"]
        return
    effective = fold_case(files, expected)
    assert typed(as_written(effective.values)) == typed(expected["config"])
    for key, origin in expected.get("origins", {}).items():
        assert str(effective.origins[key]) == origin
    for key, chain in expected.get("overridden", {}).items():
        assert [str(origin) for origin in effective.overridden.get(key, ())] == chain


def test_there_are_enough_trees() -> None:
    assert len(TREES) >= 20
