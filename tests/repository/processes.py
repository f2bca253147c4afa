"""Looks at the processes of this machine, for tests that nothing is left running."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """A running process (zombies are not): ids, words of its command line, `NAME=value`s of its environment."""

    pid: int
    parent: int
    group: int
    command: tuple[str, ...]
    environment: tuple[str, ...]


def processes() -> list[Process]:
    return [process for entry in Path("/proc").glob("[0-9]*") if (process := _process(entry))]


def working_for(mirror: Path) -> list[Process]:
    """Those that work for the mirror in this folder."""
    return [process for process in processes() if f"MIRROR_OF={mirror}" in process.environment]


def _process(entry: Path) -> Process | None:
    try:
        state, parent, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        command = (entry / "cmdline").read_text(errors="replace").split("\0")
        environment = (entry / "environ").read_text(errors="replace").split("\0")
    except OSError:  # it has just ended
        return None
    if state == "Z":
        return None
    return Process(int(entry.name), int(parent), int(group), tuple(command), tuple(environment))
