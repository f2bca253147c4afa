"""What stands on the disk of a push under way, and of one whose process died."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from app.audit import AuditEvent, Outcome
from app.changes.intents import DRAFT_SECONDS, Intent, Intents


@pytest.fixture
def intent() -> Intent:
    return Intent("a" * 40, "main", AuditEvent("config.change", Outcome.ALLOWED, subject="ada"), time.time())


def test_an_intent_is_its_processs_own_until_that_ends(tmp_path: Path, intent: Intent) -> None:
    intents = Intents(tmp_path)
    with intents.open(intent) as path:
        assert list(Intents(tmp_path).abandoned()) == []
    assert list(Intents(tmp_path).abandoned()) == [(path, intent)]


def test_what_was_never_written_whole_goes_when_it_is_old(tmp_path: Path, intent: Intent) -> None:
    young, old = tmp_path / "young.draft", tmp_path / "old.draft"
    for draft in (young, old):
        draft.write_text("{")
    os.utime(old, times=(time.time(), time.time() - DRAFT_SECONDS - 1))
    assert list(Intents(tmp_path).abandoned()) == []
    assert (young.exists(), old.exists()) == (True, False)
