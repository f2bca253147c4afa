"""The history that is kept beside the mirror tells what Git tells, whoever forks, merges and rewrites."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from pathlib import Path

import pytest

from app.model import SecretPath
from app.repository import GitConfigBackend, Past, past_of
from app.repository.history import MAX_ROTATIONS
from devstack.origin import OriginRepo, git
from tests.repository.conftest import MakeBackend

PATHS = ["a.yml", "b.yml", "d/c.yml", "absent.yml"]


def _never() -> bool:
    return False


def _line(origin: OriginRepo, commit: str, *paths: str) -> list[str]:
    return git(origin.work, "log", "--first-parent", "--format=%H", commit, "--", *paths).split()


def _tree(origin: OriginRepo, commit: str, path: str) -> str | None:
    found = git(origin.work, "ls-tree", commit, "--", path)
    return found.split()[2] if found else None


def _assert_is_as_git_says(past: Past, origin: OriginRepo, commit: str) -> None:
    steps = past.steps(PATHS)
    assert [past.commit(depth) for depth in steps] == _line(origin, commit, *PATHS)
    for depth in steps:
        held = {path: getattr(past.blobs_at(depth).get(path), "id", None) for path in PATHS}
        assert held == {path: _tree(origin, past.commit(depth), path) for path in PATHS}


def _grow(origin: OriginRepo, rounds: int) -> list[str]:
    """Commits, forks and merges by dice; the heads that are left."""
    dice = random.Random(7)
    origin.write({"a.yml": "0", "other": "0"})
    branches = ["main"]
    for number in range(rounds):
        origin.branch(dice.choice(branches))
        what = dice.random()
        if what < 0.2:
            branches.append(f"branch{number}")
            origin.branch(branches[-1])
        elif what < 0.35:
            git(origin.work, "merge", "--quiet", "--no-ff", "-X", "ours", "-m", "merge", dice.choice(branches))
        path = dice.choice([*PATHS[:3], "other"])
        gone = dice.random() < 0.2 and (origin.work / path).exists()
        origin.write({path: None if gone else f"{number}"})
    return [git(origin.work, "rev-parse", branch) for branch in branches]


@pytest.mark.slow
def test_the_file_and_a_walk_tell_what_git_tells(origin: OriginRepo, backend: GitConfigBackend) -> None:
    heads = _grow(origin, 60)
    backend.fetch()
    backend.history.update(heads[:2], _never)
    assert backend.history.update(heads, _never) > 0
    assert backend.history.update(heads, _never) == 0
    for head in heads:
        with backend.history.past(head) as past:
            assert past is not None
            _assert_is_as_git_says(past, origin, head)
        walked = past_of(backend.line(head, PATHS, limit=1000), head, backend.tree(head).blobs)
        _assert_is_as_git_says(walked, origin, head)


def test_a_walk_that_is_cut_short_is_right_as_far_as_it_goes(origin: OriginRepo, backend: GitConfigBackend) -> None:
    for number in range(6):
        head = origin.write({"a.yml": f"{number}", f"{'b' if number % 2 else 'x'}.yml": f"{number}"})
    backend.fetch()
    past = past_of(backend.line(head, PATHS, limit=3), head, backend.tree(head).blobs)
    steps = past.steps(PATHS)
    assert [past.commit(depth) for depth in steps] == _line(origin, head, *PATHS)[:3]
    for depth in steps:
        for path in ("a.yml", "b.yml", "x.yml"):
            if path != "x.yml":  # was not asked for, and so is what the head holds
                assert past.blobs_at(depth)[path].id == _tree(origin, past.commit(depth), path)


def test_a_commit_that_is_not_in_the_file_has_no_past_there(origin: OriginRepo, backend: GitConfigBackend) -> None:
    first = origin.write({"a.yml": "1"})
    backend.fetch()
    with backend.history.past(first) as past:
        assert past is None
    backend.history.update([first], _never)
    second = origin.write({"a.yml": "2"})
    with backend.history.past(second) as past:
        assert past is None
    with backend.history.past(first) as past:
        assert past is not None


def test_an_update_that_is_stopped_goes_on_where_it_was(origin: OriginRepo, backend: GitConfigBackend) -> None:
    for number in range(70):
        git(origin.work, "commit", "--quiet", "--allow-empty", "-m", f"{number}")
    head = origin.write({"a.yml": "1"})
    backend.fetch()
    answers = iter([False, True])
    assert backend.history.update([head], lambda: next(answers)) == 64
    assert backend.history.update([head], _never) == 7
    with backend.history.past(head) as past:
        assert past is not None
        assert [past.commit(depth) for depth in past.steps(PATHS)] == [head]


def test_where_a_line_stood_at_a_time(origin: OriginRepo, backend: GitConfigBackend) -> None:
    commits: list[str] = []
    for minute in range(4):
        git(origin.work, "commit", "--quiet", "--allow-empty", "-m", "x", "--date=2020-01-01T00:00:00Z")
        text = f"2024-05-01T00:0{minute}:00Z"
        made = git(origin.work, "commit-tree", "HEAD^{tree}", *(["-p", commits[-1]] if commits else []), "-m", text)
        commits.append(_dated(origin, made, 1_714_521_600 + 60 * minute))
    git(origin.work, "reset", "--quiet", "--hard", commits[-1])
    head = origin.push()
    backend.fetch()
    asked = {1_714_521_599: "", 1_714_521_600: commits[0], 1_714_521_719: commits[1], 1 << 40: head}
    assert {at: backend.stood_at(head, at) for at in asked} == asked
    assert backend.history.stood_at(head, 0) is None
    backend.history.update([head], _never)
    assert {at: backend.history.stood_at(head, at) for at in asked} == asked


def _dated(origin: OriginRepo, commit: str, seconds: int) -> str:
    """The same commit, committed at another time."""
    text = git(origin.work, "cat-file", "commit", commit)
    lines = [
        f"{line.rsplit(' ', 2)[0]} {seconds} +0000" if line.startswith("committer ") else line
        for line in text.split("\n")
    ]
    return git(origin.work, "hash-object", "-t", "commit", "-w", "--stdin", stdin="\n".join([*lines, ""]).encode())


def test_a_damaged_file_is_made_anew(origin: OriginRepo, backend: GitConfigBackend, tmp_path: Path) -> None:
    head = origin.write({"a.yml": "1"})
    backend.fetch()
    backend.history.update([head], _never)
    for file in tmp_path.glob("mirror-history.db*"):
        file.unlink()
    (tmp_path / "mirror-history.db").write_bytes(b"not a database" * 1000)

    assert backend.history.update([head], _never) == 1
    with backend.history.past(head) as past:
        assert past is not None


def test_a_file_of_another_schema_is_not_read_and_made_anew(
    origin: OriginRepo, backend: GitConfigBackend, tmp_path: Path
) -> None:
    head = origin.write({"a.yml": "1"})
    backend.fetch()
    backend.history.update([head], _never)
    database = sqlite3.connect(tmp_path / "mirror-history.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with backend.history.past(head) as past:
        assert past is None
    assert backend.history.update([head], _never) == 1


def test_nothing_but_a_commit_id_is_asked_for(backend: GitConfigBackend) -> None:
    for text in ("main", "--all", "HEAD~1", "A" * 40):
        with pytest.raises(ValueError, match="40"), backend.history.past(text):
            pass
        with pytest.raises(ValueError, match="40"):
            backend.history.update([text], _never)
        with pytest.raises(ValueError, match="40"):
            backend.stood_at(text, 1)
        with pytest.raises(ValueError, match="40"):
            backend.line(text, PATHS, limit=1)


def test_rotations_are_kept_once_and_bounded(origin: OriginRepo, make_backend: MakeBackend) -> None:
    one, other = make_backend(origin.url).history, make_backend(origin.url).history
    path = SecretPath("kv", "services/pay/prod/db")
    one.note_rotation(path, 2, "", "2026-01-01T00:00:02.000Z")
    other.note_rotation(path, 2, "", "2026-01-01T00:00:02.500Z")
    other.note_rotation(path, 3, "", "2026-01-01T00:00:03.000Z")
    assert one.rotations(path, "", "9") == [(3, "2026-01-01T00:00:03.000Z"), (2, "2026-01-01T00:00:02.000Z")]
    assert one.rotations(path, "2026-01-01T00:00:02.000Z", "2026-01-01T00:00:03.000Z") == [
        (2, "2026-01-01T00:00:02.000Z")
    ]
    assert one.rotations(SecretPath("kv", "other"), "", "9") == []


def test_the_oldest_rotations_are_forgotten(backend: GitConfigBackend, tmp_path: Path) -> None:
    path = SecretPath("kv", "services/pay/prod/db")
    backend.history.note_rotation(path, 1, "", "2026-01-01T00:00:00.000Z")
    with contextlib.closing(sqlite3.connect(tmp_path / "mirror-history.db")) as database, database:
        rows = [("kv/other", number, "", f"2026-02-01T{number:012}") for number in range(MAX_ROTATIONS)]
        database.executemany("INSERT INTO rotations VALUES (?, ?, ?, ?)", rows)
    backend.history.note_rotation(path, 2, "", "2026-03-01T00:00:00.000Z")
    assert backend.history.rotations(path, "", "9") == [(2, "2026-03-01T00:00:00.000Z")]
    assert len(backend.history.rotations(SecretPath("kv", "other"), "", "9")) == MAX_ROTATIONS - 1
