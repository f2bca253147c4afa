"""The list of guards that `make mutants` takes out is about code and tests that there are."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from devstack.mutants import ROOT, Mutant, mutants

ALL = mutants()


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.guard.replace(" ", "-"))
def test_a_guard_stands_in_its_file_once_and_its_test_exists(tmp_path: Path, mutant: Mutant) -> None:
    copy = tmp_path / mutant.file
    copy.parent.mkdir(parents=True)
    shutil.copy(ROOT / mutant.file, copy)
    mutant.apply(tmp_path)
    assert copy.read_text() != (ROOT / mutant.file).read_text()
    file, _, name = mutant.test.partition("::")
    assert not name or re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_each_guard_is_listed_once() -> None:
    assert len({mutant.guard for mutant in ALL}) == len({(mutant.file, mutant.line) for mutant in ALL}) == len(ALL)
