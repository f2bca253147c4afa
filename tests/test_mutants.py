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


def test_each_line_of_the_security_page_has_a_guard_that_is_taken_out() -> None:
    """But for those that say whose guard it is, in parentheses."""
    page = (ROOT / "docs" / "security.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("|") and "`tests/" in line]
    shown = {mutant.test.partition("::")[0] for mutant in ALL}
    without = [row for row in rows if not shown.intersection(re.findall(r"tests/[\w/]+\.py", row))]
    assert len(rows) > 45
    assert [row for row in without if "(by " not in row] == []


def test_each_guard_is_listed_once() -> None:
    assert len({mutant.guard for mutant in ALL}) == len({(mutant.file, mutant.line) for mutant in ALL}) == len(ALL)
