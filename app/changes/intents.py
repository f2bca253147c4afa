"""Pushes under way, on this host's disk: so that after a death in between somebody finds out how the push ended.

One file for each, locked by the process that pushes; a file that nobody locks is that of a process that died, or of a
push that was cut off. Whoever fetches next looks whether its commit has arrived, records that, and removes the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from app.audit import AuditEvent, Outcome
from app.errors import AuditUnavailable

log = structlog.get_logger(__name__)

#: An intent is written in a moment; what is a draft for longer is nobody's.
DRAFT_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Intent:
    """A push that is about to be tried: `commit` onto `label`, the event that tells of it, and when (Unix seconds)."""

    commit: str
    label: str
    event: AuditEvent
    at: float


class Intents:
    """Thread-safe; shared by the processes of a host through `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def open(self, intent: Intent) -> Iterator[Path]:
        """While it is open the intent is this process's. The caller removes the file once the outcome is on record.

        Raises AuditUnavailable when the disk refuses it.
        """
        path = self._folder / f"{intent.commit}-{secrets.token_hex(4)}.json"
        draft = path.with_suffix(".draft")  # nobody looks at it before it is whole, and locked
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = draft.open("x")
        except OSError as exc:
            raise AuditUnavailable("the intent to push cannot be written") from exc
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                json.dump({"v": 1, **asdict(intent)}, file)
                file.flush()
                os.fsync(file.fileno())
                draft.replace(path)
            except OSError as exc:
                draft.unlink(missing_ok=True)
                raise AuditUnavailable("the intent to push cannot be written") from exc
            yield path

    def abandoned(self) -> Iterator[tuple[Path, Intent]]:
        """The intents that no process holds any more. Ours until the next one is asked for."""
        self._clear_drafts()
        for path in sorted(self._folder.glob("*.json")):
            with contextlib.suppress(OSError), path.open("rb") as file:  # it may have ended just now, or be locked
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                intent = _read(file.read())
                if intent is not None and path.exists():
                    yield path, intent
                elif intent is None:
                    log.warning("intent.unreadable", file=path.name)
                    path.unlink(missing_ok=True)

    def _clear_drafts(self) -> None:
        """What processes left that died before they had written it."""
        for draft in self._folder.glob("*.draft"):
            with contextlib.suppress(FileNotFoundError):  # it has its name just now
                if time.time() - draft.stat().st_mtime > DRAFT_SECONDS:
                    draft.unlink()


def _read(text: bytes) -> Intent | None:
    """None for what was cut off by a crash: it was then not on the trail yet, and not pushed."""
    try:
        found = json.loads(text)
        event = found["event"]
        return Intent(
            found["commit"],
            found["label"],
            AuditEvent(**{**event, "outcome": Outcome(event["outcome"]), "keys": tuple(event["keys"])}),
            float(found["at"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
