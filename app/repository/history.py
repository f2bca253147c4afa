"""The history of paths along first parents: kept in a file beside the mirror, so that nobody has to walk 5,000 commits.

What a commit changed never changes, so the file is only ever added to, and whatever is wrong with it it is made anew.
Git lists the paths of a commit by comparing its whole tree, which takes seconds for a long history of a large folder.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import structlog

from app.aside import aside
from app.errors import RepositoryUnavailable
from app.model import Blob, SecretPath
from app.repository.commands import Commands
from app.repository.past import STEP_FORMAT, Past, Step, checked_commit, steps_of

log = structlog.get_logger(__name__)

SCHEMA_VERSION = 1
#: Commits that one process of Git lists.
_BATCH = 64
_FIRST_LOOK = 64
_PATIENCE = 2.0
#: Rotations that are remembered.
MAX_ROTATIONS = 10_000

# A commit is a place on a chain: `depth` counts from the root along first parents, and a chain that forks off another
# says where. A label's history is then one range for each chain on the way to the root.
_SCHEMA = """
CREATE TABLE commits (hash TEXT PRIMARY KEY, chain INTEGER NOT NULL, depth INTEGER NOT NULL, time INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE UNIQUE INDEX places ON commits (chain, depth, hash, time);
CREATE TABLE chains (id INTEGER PRIMARY KEY, parent INTEGER, fork INTEGER NOT NULL);
CREATE TABLE paths (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE);
CREATE TABLE changes (path INTEGER NOT NULL, chain INTEGER NOT NULL, depth INTEGER NOT NULL, blob TEXT,
    PRIMARY KEY (path, chain, depth)) WITHOUT ROWID;
CREATE TABLE rotations (secret TEXT NOT NULL, version INTEGER NOT NULL, life TEXT NOT NULL, time TEXT NOT NULL,
    PRIMARY KEY (secret, version, life)) WITHOUT ROWID;
CREATE INDEX moments ON rotations (time);
"""

_FORGET = "DELETE FROM rotations WHERE time <= (SELECT time FROM rotations ORDER BY time DESC LIMIT 1 OFFSET ?)"

#: A range of a chain: its id, and the depth up to which it belongs to a line.
_Segment = tuple[int, int]


class HistoryFile:
    """Any thread and any worker may read; `update` is for the one that pulls. `path` is a file on a local disk."""

    def __init__(self, path: Path, commands: Commands) -> None:
        self._path = path
        self._commands = commands
        self._writing = threading.Lock()  # one update at a time in this process

    @contextlib.contextmanager
    def past(self, commit: str) -> Iterator[Past | None]:
        """The line that ends at `commit`, to be asked while the context lasts; None while the file has it not (yet)."""
        checked_commit(commit)
        with self._reading() as database:
            place = _place(database, commit) if database else None
            yield _past(database, place) if database and place else None

    def stood_at(self, commit: str, seconds: int) -> str | None:
        """The newest commit of the line that was committed by then. "" if there is none, None if it is not known."""
        checked_commit(commit)
        with self._reading() as database:
            place = _place(database, commit) if database else None
            if database is None or place is None:
                return None
            question = (
                "SELECT hash FROM commits WHERE chain = ? AND depth <= ? AND time <= ? ORDER BY depth DESC LIMIT 1"
            )
            for segment in _segments(database, place):
                found = database.execute(question, (*segment, seconds)).fetchone()
                if found is not None:
                    return str(found[0])
        return ""

    def update(self, heads: Sequence[str], stopped: Callable[[], bool]) -> int:
        """Add what leads to `heads`, oldest first, until all is there or `stopped`. How many commits were added.

        Raises RepositoryUnavailable when Git fails, OSError or sqlite3.Error when the disk does.
        """
        with self._writing:
            try:
                return self._update(heads, stopped)
            except sqlite3.DatabaseError as failure:
                if type(failure) is not sqlite3.DatabaseError:  # busy, or the disk: the file itself may be whole
                    raise
                log.warning("history.made_anew", reason=str(failure))
                for suffix in ("", "-wal", "-shm"):
                    Path(f"{self._path}{suffix}").unlink(missing_ok=True)
                return self._update(heads, stopped)

    def note_rotation(self, secret: SecretPath, version: int, life: str, at: str) -> None:
        """Remember that a secret was announced at `version`; who comes second says nothing new. Never raises."""
        try:
            with contextlib.closing(self._opened()) as database, database:
                row = (str(secret), version, life, at)
                database.execute("INSERT OR IGNORE INTO rotations VALUES (?, ?, ?, ?)", row)
                database.execute(_FORGET, (MAX_ROTATIONS,))
        except (sqlite3.Error, OSError) as failure:
            log.warning("history.rotation_not_noted", reason=str(failure))

    def rotations(self, secret: SecretPath, since: str, until: str) -> list[tuple[int, str]]:
        """(version, time) of the rotations at or after `since` and before `until` (RFC 3339), newest first."""
        question = "SELECT version, time FROM rotations WHERE secret = ? AND time >= ? AND time < ? ORDER BY time DESC"
        with self._reading() as database:
            rows = database.execute(question, (str(secret), since, until)).fetchall() if database else []
        return [(int(version), str(at)) for version, at in rows]

    # Reading

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """None when there is no file, or none of this schema. What a damaged one raises counts as unavailable."""
        if not self._path.exists():
            yield None
            return
        try:
            with contextlib.closing(self._connected()) as database:
                usable = database.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
                yield database if usable else None
        except sqlite3.Error as failure:
            log.warning("history.not_read", reason=str(failure))
            raise RepositoryUnavailable("the history cannot be read at the moment", retry_after=5) from failure

    def _connected(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=_PATIENCE)

    # Writing

    def _opened(self) -> sqlite3.Connection:
        database = self._connected()
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA_VERSION):
                raise sqlite3.DatabaseError("another schema")
            if version == 0:
                database.executescript(f"BEGIN EXCLUSIVE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        except BaseException:
            database.close()
            raise
        return database

    def _update(self, heads: Sequence[str], stopped: Callable[[], bool]) -> int:
        added = 0
        with contextlib.closing(self._opened()) as database:
            for head in heads:
                missing = self._missing(database, checked_commit(head))
                for start in range(0, len(missing), _BATCH):
                    if stopped():
                        return added
                    listing = self._listing(missing[start : start + _BATCH])
                    added += aside(partial(self._added, listing))
        return added

    def _added(self, listing: bytes) -> int:
        """How many commits of a listing were new. One that touches thousands of files takes a third of a second."""
        with contextlib.closing(self._opened()) as database, database:
            database.execute("BEGIN IMMEDIATE")  # another worker may be at it: who pulls has changed
            return sum(_add(database, step) for step in steps_of(listing))

    def _missing(self, database: sqlite3.Connection, head: str) -> list[str]:
        """The commits from the first that is known to `head`, oldest first."""
        limit = _FIRST_LOOK
        while True:
            arguments = ("rev-list", "--first-parent", f"--max-count={limit}", head)
            line = self._commands.local(*arguments).output.decode("ascii").split()
            for number, commit in enumerate(line):
                if _place(database, commit) is not None:
                    return line[:number][::-1]
            if len(line) < limit:
                return line[::-1]
            limit *= 64

    def _listing(self, commits: Sequence[str]) -> bytes:
        question = "\n".join([*commits, ""]).encode("ascii")
        return self._commands.local("log", "--stdin", "--no-walk=unsorted", *LISTING, stdin=question).output


#: How commits are listed with what each changed from its first parent.
LISTING = (
    "--diff-merges=first-parent",
    "-r",
    "--root",
    "--raw",
    "--no-abbrev",
    "-z",
    "--no-renames",
    f"--format={STEP_FORMAT}",
)


def _past(database: sqlite3.Connection, place: _Segment) -> Past:
    segments = _segments(database, place)

    def changes(path: str) -> list[tuple[int, Blob | None]]:
        question = (
            "SELECT depth, blob FROM changes WHERE path = (SELECT id FROM paths WHERE path = ?) AND chain = ? "
            "AND depth <= ? ORDER BY depth DESC"
        )
        rows = [row for segment in segments for row in database.execute(question, (path, *segment))]
        return [(int(depth), Blob(*blob.split()) if blob else None) for depth, blob in rows]

    def under(folder: str) -> list[str]:
        question = "SELECT path FROM paths WHERE path >= ? AND path < ?"  # "0" follows "/"
        return [str(path) for (path,) in database.execute(question, (f"{folder}/", f"{folder}0"))]

    def commit(depth: int) -> str:
        chain = next(chain for chain, last in reversed(segments) if depth <= last)
        question = "SELECT hash FROM commits WHERE chain = ? AND depth = ?"
        return str(database.execute(question, (chain, depth)).fetchone()[0])

    def depth_of(name: str) -> int | None:
        found = _place(database, name)
        return (
            found[1]
            if found is not None and any(chain == found[0] and found[1] <= last for chain, last in segments)
            else None
        )

    return Past(place[1], changes, under, commit, depth_of)


def _place(database: sqlite3.Connection, commit: str) -> _Segment | None:
    found = database.execute("SELECT chain, depth FROM commits WHERE hash = ?", (commit,)).fetchone()
    return (int(found[0]), int(found[1])) if found else None


def _segments(database: sqlite3.Connection, place: _Segment) -> list[_Segment]:
    """From the chain of the place to that of the root."""
    segments = [place]
    while True:
        chain, depth = segments[-1]
        parent, fork = database.execute("SELECT parent, fork FROM chains WHERE id = ?", (chain,)).fetchone()
        if parent is None:
            return segments
        segments.append((int(parent), min(int(fork), depth)))


def _add(database: sqlite3.Connection, step: Step) -> bool:
    """False if it is there already."""
    if _place(database, step.commit) is not None:
        return False
    parent = _place(database, step.parent) if step.parent else None
    depth = parent[1] + 1 if parent else 0
    taken = "SELECT 1 FROM commits WHERE chain = ? AND depth = ?"
    if parent is not None and database.execute(taken, (parent[0], depth)).fetchone() is None:
        chain = parent[0]
    else:
        above = parent if parent else (None, -1)
        chain = int(database.execute("INSERT INTO chains (parent, fork) VALUES (?, ?)", above).lastrowid or 0)
    database.execute("INSERT INTO commits VALUES (?, ?, ?, ?)", (step.commit, chain, depth, step.time))
    rows = [(path, chain, depth, f"{blob.mode} {blob.id}" if blob else None) for path, blob in step.changes.items()]
    database.executemany("INSERT OR IGNORE INTO paths (path) VALUES (?)", [(path,) for path, *_ in rows])
    database.executemany("INSERT INTO changes SELECT id, ?2, ?3, ?4 FROM paths WHERE path = ?1", rows)
    return True
