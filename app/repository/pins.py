"""Pins: refs that keep served commits readable after the remote has forgotten them.

`refs/pins/<day>/<commit>`, the day counted from 1970: the name tells the age, which packed refs would not. They lie
outside heads and tags, where neither a prune nor a listing of labels finds them, and Git's collector keeps what they
lead to.
"""

from __future__ import annotations

from collections.abc import Callable

from app.repository.commands import Commands
from app.repository.mirror import MirrorDirectory

_PINS = "refs/pins/"
_DAY = 86_400


class Pins:
    """Only for the process that pulls. `clock` gives Unix seconds."""

    def __init__(self, mirror: MirrorDirectory, commands: Commands, clock: Callable[[], float]) -> None:
        self._mirror = mirror
        self._commands = commands
        self._clock = clock

    def pin(self, commit: str) -> None:
        """Keep `commit` from today on. A second time on the same day costs nothing."""
        name = f"{_PINS}{int(self._clock() // _DAY)}/{commit}"
        if not (self._mirror.current() / name).exists():
            self._commands.local("update-ref", name, commit)

    def unpin_older_than(self, days: float) -> bool:
        """Let go what was last pinned more than `days` ago. Whether there was any."""
        listed = self._commands.local("for-each-ref", "--format=%(refname)", _PINS).output.decode("ascii").split()
        oldest = self._clock() / _DAY - days
        old = [name for name in listed if int(name.split("/")[2]) + 1 < oldest]
        if old:
            self._commands.local("update-ref", "--stdin", stdin="".join(f"delete {name}\n" for name in old).encode())
        return bool(old)
