"""The folder of the mirror: which clone is the current one, and how another takes its place at one stroke.

directory/current -> clone-4f1c…    a link, replaced atomically: there is never half a mirror
directory/clone-4f1c…/              a bare repository; its name is never used again, so a swap shows in the link
directory/process                   the id of the process group that talks to the remote now
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from app.errors import RepositoryUnavailable
from app.repository.process import end_group


class MirrorDirectory:
    """Paths only; starts no Git. Everything but `current` and `exists` is for the one process that pulls."""

    def __init__(self, directory: Path) -> None:
        self.path = directory.absolute()
        self._link = self.path / "current"
        self._record = self.path / "process"

    @property
    def exists(self) -> bool:
        return self._link.exists()

    def current(self) -> Path:
        """The clone to read now. Raises RepositoryUnavailable when there is none yet. Costs microseconds."""
        try:
            return self.path / os.readlink(self._link)
        except OSError as exc:
            raise RepositoryUnavailable("there is no clone of the repository yet") from exc

    def new_clone(self) -> Path:
        """An empty folder beside the current clone; earlier attempts are removed."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.remove_other_clones()
        clone = self.path / f"clone-{secrets.token_hex(8)}"
        clone.mkdir()
        return clone

    def install(self, clone: Path) -> None:
        """Make `clone` the current one, for every process at once, and remove the former."""
        link = self.path / "next"
        link.unlink(missing_ok=True)
        link.symlink_to(clone.name)
        link.replace(self._link)
        self.remove_other_clones()

    def remove_other_clones(self) -> None:
        kept = os.readlink(self._link) if self._link.is_symlink() else None
        for clone in self.path.glob("clone-*"):
            if clone.name != kept:
                shutil.rmtree(clone, ignore_errors=True)

    def remove_leftovers(self) -> None:
        """Remove what a killed Git leaves behind: lock files (no ref may be called *.lock) and half packs."""
        if self.exists:
            clone = self.current()
            for pattern in ("*.lock", "refs/**/*.lock", "objects/**/*.lock", "objects/pack/tmp_*", "gc.pid"):
                for file in clone.glob(pattern):
                    file.unlink(missing_ok=True)

    def record_process(self, group: int | None) -> None:
        """Note the group that is talking to the remote, for whoever takes over; None when it has ended."""
        if group is None:
            self._record.unlink(missing_ok=True)
        else:
            self._record.write_text(str(group))

    def end_recorded_process(self) -> None:
        """Kill the recorded group if it is still Git working for this mirror."""
        with contextlib.suppress(OSError, ValueError):
            end_group(int(self._record.read_text()), self.path)
        self._record.unlink(missing_ok=True)
