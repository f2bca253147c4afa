"""What a line of first parents did to paths: at which step each changed, and what it held then. Values, no I/O."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from app.model import COMMIT, Blob

#: A commit of the line and the paths that it changed from its first parent: the new blob, None where it deleted.
Changes: TypeAlias = Mapping[str, Blob | None]


@dataclass(frozen=True, slots=True)
class Step:
    """One commit as `steps_of` reads it. `time` is the committer's, in Unix seconds; `before` are the former blobs."""

    commit: str
    parent: str | None
    time: int
    changes: Changes
    before: Changes


#: What `git log` must print for `steps_of`; with -z, and --raw.
STEP_FORMAT = "%H %P|%ct"


def steps_of(output: bytes) -> Iterator[Step]:
    """The steps in the output of `git log -z --raw --format=STEP_FORMAT`, in its order."""
    commit: str | None = None
    parent: str | None = None
    time, changes, before = 0, dict[str, Blob | None](), dict[str, Blob | None]()
    tokens = iter(output.split(b"\0"))
    for token in tokens:
        text = token.lstrip(b"\n")
        if text.startswith(b":"):
            with suppress(UnicodeDecodeError):  # a path that no configuration can have
                path = next(tokens, b"").decode()
                before[path], changes[path] = _sides(text)
        elif text:
            if commit is not None:
                yield Step(commit, parent, time, changes, before)
            names, _, seconds = text.decode("ascii").rpartition("|")
            commit, parent = (*names.split(), None)[:2]
            time, changes, before = int(seconds or 0), {}, {}
    if commit is not None:
        yield Step(commit, parent, time, changes, before)


def _sides(raw: bytes) -> tuple[Blob | None, Blob | None]:
    """`:<old mode> <mode> <old id> <id> <status>`."""
    old_mode, mode, old, new, status = raw.decode("ascii")[1:].split(" ")
    return None if status == "A" else Blob(old_mode, old), None if status == "D" else Blob(mode, new)


class Past:
    """A commit and all before it along first parents. Steps are numbered by depth, higher is newer.

    `changes(path)` are (depth, blob) from the newest to the oldest; `under` names the paths below a folder that ever
    were there; `commit` tells which commit stands at a depth, `depth_of` the reverse (None for a commit that is not of
    the line). `cut`: older steps are left out. Changes are asked for once and remembered; two threads may ask twice.
    """

    def __init__(
        self,
        top: int,
        changes: Callable[[str], Sequence[tuple[int, Blob | None]]],
        under: Callable[[str], Iterable[str]],
        commit: Callable[[int], str],
        depth_of: Callable[[str], int | None],
        *,
        cut: bool = False,
    ) -> None:
        self.top = top
        self.commit = commit
        self.depth_of = depth_of
        self.cut = cut
        self.under = under
        self._ask = changes
        self._known: dict[str, Sequence[tuple[int, Blob | None]]] = {}

    def steps(self, paths: Iterable[str]) -> list[int]:
        """The depths at which one of `paths` changed, newest first."""
        return sorted({depth for path in paths for depth, _ in self._changes(path) if depth > _BEFORE}, reverse=True)

    def blobs_at(self, depth: int) -> Mapping[str, Blob]:
        """What the repository held then, path by path as it is asked for."""
        return _Blobs(self, depth)

    def blob_at(self, path: str, depth: int) -> Blob | None:
        known = self._changes(path)
        place = bisect_left(known, -depth, key=lambda change: -change[0])
        return known[place][1] if place < len(known) else None

    def _changes(self, path: str) -> Sequence[tuple[int, Blob | None]]:
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = self._ask(path)
        return known


#: Below every step that is known.
_BEFORE = -(1 << 60)


def past_of(steps: Sequence[Step], top: str, blobs: Mapping[str, Blob], *, cut: bool = False) -> Past:
    """The past of these steps, newest first, and of whatever else the tree of `top`, where they end, holds."""
    changes: dict[str, list[tuple[int, Blob | None]]] = {}
    for depth, step in enumerate(steps):
        for path, blob in step.changes.items():
            changes.setdefault(path, []).append((-depth, blob))
    oldest = {path: blob for step in steps for path, blob in step.before.items()}
    for path, blob in oldest.items():
        changes[path].append((_BEFORE, blob))

    def under(folder: str) -> list[str]:
        return [path for path in {**blobs, **changes} if path.startswith(f"{folder}/")]

    depths = {step.commit: -depth for depth, step in enumerate(steps)}
    return Past(
        0,
        lambda path: changes.get(path) or [(_BEFORE, blobs.get(path))],
        under,
        lambda depth: steps[-depth].commit if steps else top,
        depths.get,
        cut=cut,
    )


class _Blobs(Mapping[str, Blob]):
    """A look at one step. It can be asked for a path, and not for all of them."""

    def __init__(self, past: Past, depth: int) -> None:
        self._past = past
        self._depth = depth

    def __getitem__(self, path: str) -> Blob:
        found = self._past.blob_at(path, self._depth)
        if found is None:
            raise KeyError(path)
        return found

    def __iter__(self) -> Iterator[str]:
        raise TypeError("the paths of a step are not listed")

    def __len__(self) -> int:
        raise TypeError("the paths of a step are not counted")


def checked_commit(commit: str) -> str:
    if not COMMIT.fullmatch(commit):
        raise ValueError("a commit id has 40 hexadecimal digits")
    return commit
