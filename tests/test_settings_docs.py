"""docs/settings.md against app/settings.py: every setting is there, with the default that it really has."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from app.settings import READERS, REQUIRED, Settings, Timings

PAGE = (Path(__file__).parent.parent / "docs" / "settings.md").read_text()
SETTINGS, _, TIMINGS = PAGE.partition("## Fixed durations")
NONE, MUST = "–", "**required**"


def _rows(text: str) -> dict[str, list[str]]:
    """name -> the other cells, of every table row that begins with a name in code."""
    found = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE)
    assert len({name for name, _ in found}) == len(found), "a name stands in two rows"
    return {name.lower(): [cell.strip() for cell in rest.split("|")] for name, rest in found}


def _default(name: str) -> Any:
    field = next(field for field in dataclasses.fields(Settings) if field.name == name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def test_every_setting_is_documented_and_no_other() -> None:
    assert set(_rows(SETTINGS)) == set(READERS)


def test_every_row_says_what_its_setting_means() -> None:
    assert not [name for name, cells in _rows(SETTINGS).items() if len(cells) != 3 or not cells[-1]]


def test_required_settings_are_marked() -> None:
    assert {name for name, cells in _rows(SETTINGS).items() if cells[0] == MUST} == REQUIRED


@pytest.mark.parametrize("name", sorted(set(READERS) - REQUIRED))
def test_documented_default_is_the_real_one(name: str) -> None:
    cell, default = _rows(SETTINGS)[name][0], _default(name)
    if cell == NONE:
        assert not default
    else:
        assert READERS[name](cell.strip("`")) == default


def test_every_fixed_duration_is_documented_with_its_value() -> None:
    told = {name: tuple(map(float, cells[0].split(","))) for name, cells in _rows(TIMINGS).items()}
    real = {
        name: value if isinstance(value, tuple) else (value,) for name, value in dataclasses.asdict(Timings()).items()
    }
    assert told == real
