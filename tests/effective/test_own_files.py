"""What the repository says about the server: known targets and freezes, read strictly."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.effective.own_files import read_freeze, read_targets
from app.errors import BadConfiguration

WINDOW = "[[window]]\nfrom = 2026-01-01T00:00:00Z\nuntil = 2026-01-02T00:00:00+02:00\n"
INSIDE, OUTSIDE = datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 22, tzinfo=UTC)


def test_targets_are_read() -> None:
    assert read_targets(b'[targets]\npay = ["prod", "dev"]\n"a.b" = []\n') == {("pay", "prod"), ("pay", "dev")}


@pytest.mark.parametrize(
    "text", ["", "pay = 1", "[targets]\npay = 'prod'", "[targets]\npay = [1]", "[targets]\n'a/b' = ['x']",
             "[targets]\npay = ['a,b']", "[targets]\n[more]", "targets = 1", "[", "\xff"],
)  # fmt: skip
def test_targets_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(BadConfiguration, match=r"targets\.toml"):
        read_targets(text.encode("latin-1"))


def test_window_holds_from_its_beginning_until_its_end_for_its_envs() -> None:
    (window,) = read_freeze(f"{WINDOW}envs = ['prod']\nreason = 'x'".encode())
    assert window.holds(["prod"], INSIDE)
    assert window.holds(["dev", "prod"], INSIDE)
    assert window.holds([None], INSIDE)  # a file of every env
    assert not window.holds(["dev"], INSIDE)
    assert not window.holds(["prod"], OUTSIDE)
    assert window.holds(["prod"], window.begin)
    assert not window.holds(["prod"], window.end)


def test_window_without_envs_holds_for_all() -> None:
    (window,) = read_freeze(WINDOW.encode())
    assert window.holds(["dev"], INSIDE)
    assert read_freeze(b"") == ()


@pytest.mark.parametrize(
    "text",
    ["[[window]]", "[[window]]\nfrom = 2026-01-01\nuntil = 2026-01-02", "window = 1", "x = 1", f"{WINDOW}why = 1",
     f"{WINDOW}envs = 'prod'", f"{WINDOW}envs = ['a b']", f"{WINDOW}reason = 1", "[", "[[window]]\n"
     "from = 2026-01-01T00:00:00\nuntil = 2026-01-02T00:00:00",
     "[[window]]\nfrom = 2026-01-02T00:00:00Z\nuntil = 2026-01-01T00:00:00Z"],
)  # fmt: skip
def test_freeze_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadConfiguration, match=r"freeze\.toml"):
        read_freeze(text.encode())
