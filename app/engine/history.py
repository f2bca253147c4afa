"""Which commits, and which rotations of secrets, changed what a target's readers get: page by page, newest first."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.aside import in_slices
from app.effective import changed_keys, fingerprint, schema_paths, sealed
from app.effective.schema_file import SCHEMA_FOLDER
from app.engine.loader import Loader, ReadsTrees
from app.engine.resolver import Resolver
from app.engine.world import Head
from app.errors import BadInput, RepositoryUnavailable, Unprocessable
from app.model import COMMIT, Commit, Effective, Json, SecretPath, Target, Tree
from app.repository import GitConfigBackend, ObjectLost, Past, Signature, past_of
from app.secrets.flight import SingleFlight

#: Commits that Git is asked for while they are not in the history's file.
WALK = 1000
#: A page is cut short after so long, in seconds, if it has got on at all.
PATIENCE = 0.1
MAX_KEYS = 100
MAX_MESSAGE = 4_000
MAX_ROTATIONS = 100
_FOREVER = "9"
_CURSOR = re.compile(rf"({COMMIT.pattern})_([0-9TZ:.-]{{1,30}})")


@dataclass(frozen=True, slots=True)
class Revision:
    """A change of an effective configuration: by a `commit`, else by a rotation to `secret_version` at `time`.

    `keys` are the key paths that changed (a hundred at most). `signature` is None where it was not checked.
    """

    time: str
    keys: tuple[str, ...]
    commit: Commit | None = None
    secret_version: int | None = None
    signature: Signature | None = None

    def as_json(self) -> dict[str, Json]:
        keys: list[Json] = list(self.keys[:MAX_KEYS])
        if self.commit is None:
            return {"kind": "rotation", "time": self.time, "keys": keys, "secret_version": self.secret_version}
        unchecked = None if self.commit.signed else "N"
        signer = self.signature.signer if self.signature else None
        told: dict[str, Json] = {
            "kind": "commit",
            "commit": self.commit.id,
            "author": self.commit.author,
            "time": self.time,
            "message": self.commit.message[:MAX_MESSAGE],
            "signature": self.signature.state if self.signature else unchecked,
            "keys": keys,
        }
        return {**told, "signer": signer} if signer else told


@dataclass(frozen=True, slots=True)
class Page:
    """`next` is the cursor of the page after this one, None on the last."""

    revisions: tuple[Revision, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class _Good:
    """The configuration as it came to be at a step."""

    depth: int
    effective: Effective
    print: bytes


class History:
    """Thread-safe. Starts no process for what the history's file holds; else one walk of Git, shared by who waits."""

    def __init__(self, repository: GitConfigBackend, trees: ReadsTrees, loader: Loader, resolver: Resolver) -> None:
        self._repository = repository
        self._trees = trees
        self._loader = loader
        self._resolver = resolver
        self._walks: SingleFlight[tuple[str, tuple[str, ...]], Past] = SingleFlight()

    def page(self, head: Head, target: Target, *, protected: bool, after: str | None, limit: int) -> Page:
        """At most `limit` commits that changed the target, with the rotations between them.

        A commit counts whose configuration is good and differs from the good one before it, values and references. What
        was held back changed nothing. Raises BadInput for a cursor of another history, RepositoryUnavailable.
        """
        begin, until = _begin(after)
        with self._past(head, target, begin) as past:
            start = past.top if begin is None else past.depth_of(begin)
            if start is None:
                raise BadInput("cursor", "is not one of this history")
            steps = [depth for depth in self._steps(past, target) if depth <= start]
            found, rest = _Reader(self, past, target, protected).changes(steps, limit)
            return self._page(past, found, rest, until, protected=protected)

    def effective(self, target: Target, past: Past, depth: int, *, protected: bool) -> Effective | None:
        """What the target was at a step; None where it was bad."""
        try:
            tree = Tree(past.commit(depth), past.blobs_at(depth), self._folders(past.commit(past.top)))
            return self._resolver.effective_at(target, tree, protected=protected)
        except (Unprocessable, ObjectLost):
            return None

    @contextmanager
    def _past(self, head: Head, target: Target, begin: str | None) -> Iterator[Past]:
        with self._repository.history.past(head.commit) as past:
            if past is not None:
                yield past
                return
        if begin is not None and not self._repository.is_ancestor(begin, head.commit):
            raise BadInput("cursor", "is not one of this history")
        yield self._walked(begin or head.commit, target)

    def _walked(self, top: str, target: Target) -> Past:
        paths = (*self._inputs(target, top), SCHEMA_FOLDER)

        def walk() -> Past:
            steps = self._repository.line(top, paths, limit=WALK)
            return past_of(steps, top, self._trees.at(top).blobs, cut=len(steps) == WALK)

        return self._walks.do((top, paths), walk)

    def _inputs(self, target: Target, top: str) -> tuple[str, ...]:
        return self._loader.inputs(target, self._folders(top))

    def _folders(self, top: str) -> frozenset[str] | None:
        """Where search paths have `*`: the folders of the newest commit, those before it being listed nowhere."""
        return self._loader.folders(self._trees.at(top)) if self._loader.has_stars else None

    def _steps(self, past: Past, target: Target) -> list[int]:
        paths = self._inputs(target, past.commit(past.top))
        if past.steps(schema_paths(target.service)):
            paths = (*paths, *past.under(SCHEMA_FOLDER))
        return past.steps(paths)

    def _page(
        self, past: Past, found: list[tuple[_Good, _Good | None]], rest: _Good | None, until: str, *, protected: bool
    ) -> Page:
        revisions: list[Revision] = []
        commits = [self._repository.commit(past.commit(good.depth)) for good, _ in found]
        signatures = self._repository.signatures(commits)
        for (good, before), commit in zip(found, commits, strict=True):
            since = _to_the_millisecond(commit.time)
            if protected:
                revisions += self._rotations(good.effective, since, until)
            signature = signatures.get(commit.id)
            revisions.append(Revision(commit.time, _keys(before, good), commit, signature=signature))
            until = since
        return Page(tuple(revisions), f"{past.commit(rest.depth)}_{until}" if rest else None)

    def _rotations(self, effective: Effective, since: str, until: str) -> list[Revision]:
        """Of the secrets that it refers to without a version, while it was what readers got."""
        keys: dict[SecretPath, list[str]] = {}
        for reference, names in effective.references.items():
            if reference.version is None and not reference.is_encrypted:
                keys.setdefault(SecretPath(reference.alias, reference.path), []).extend(names)
        found = [
            Revision(at, tuple(names), secret_version=version)
            for path, names in keys.items()
            for version, at in self._repository.history.rotations(path, since, until)
        ]
        return sorted(found, key=lambda each: each.time, reverse=True)[:MAX_ROTATIONS]


def _begin(cursor: str | None) -> tuple[str | None, str]:
    """Where a page begins, and until when that commit was what readers got."""
    if cursor is None:
        return None, _FOREVER
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise BadInput("cursor", "is not one of this history")
    return match[1], match[2]


class _Reader:
    """Goes down one line, step by step, and keeps those where what the target is began to be."""

    def __init__(self, history: History, past: Past, target: Target, protected: bool) -> None:
        self._history = history
        self._past = past
        self._target = target
        self._protected = protected

    def changes(self, steps: list[int], limit: int) -> tuple[list[tuple[_Good, _Good | None]], _Good | None]:
        """(what came to be, what was before), newest first, and what is to be looked at first for the next page.

        Raises RepositoryUnavailable when a walk of Git ends before anything good.
        """
        found: list[tuple[_Good, _Good | None]] = []
        first: _Good | None = None
        good: _Good | None = None
        deadline = time.monotonic() + PATIENCE
        for depth in in_slices(steps):
            older = self._good(depth)
            if older is None:
                continue
            if good is not None and good.print != older.print:
                found.append((good, older))
            first, good = first or older, older
            late = time.monotonic() > deadline and good is not first
            if len(found) == limit or late:
                return found, good
        if self._past.cut and good is first:
            raise RepositoryUnavailable("the history is being read, and is long", retry_after=5)
        if self._past.cut:
            return found, good
        if good is not None and good.effective.values:
            found.append((good, None))
        return found, None

    def _good(self, depth: int) -> _Good | None:
        effective = self._history.effective(self._target, self._past, depth, protected=self._protected)
        return _Good(depth, effective, fingerprint(effective)) if effective is not None else None


def _keys(before: _Good | None, after: _Good) -> tuple[str, ...]:
    sides = [sealed(good.effective.values, lambda template: (template,)) if good else {} for good in (before, after)]
    return changed_keys(*sides)


def _to_the_millisecond(at: str) -> str:
    """`2026-01-01T00:00:00Z` so that it sorts among the server's own times."""
    return at if "." in at else at.replace("Z", ".000Z")
