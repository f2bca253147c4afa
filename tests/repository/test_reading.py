"""Trees and blobs, read from the mirror by one reader that all share."""

from __future__ import annotations

import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.model import Blob
from app.repository import BlobTooLarge, GitConfigBackend, ObjectLost
from devstack.origin import OriginRepo, git
from tests.repository.conftest import MakeBackend
from tests.repository.processes import processes
from tests.support import eventually

UNKNOWN = "1234567890" * 4
NOT_IDS = ["", "main", "HEAD", "@{upstream}", ":/x", "a" * 39, "A" * 40, "a" * 41, "--output=x", f"{'a' * 40}\n"]


_others: set[int] = set()


@pytest.fixture(autouse=True)
def _readers_of_other_tests() -> None:
    """Servers that other tests share have readers of their own in this process."""
    _others.clear()
    _others.update(readers())


def readers() -> set[int]:
    """The ids of the cat-file processes that this process has running for this test."""
    mine = {process.pid for process in processes() if process.parent == os.getpid() and "cat-file" in process.command}
    return mine - _others


@pytest.mark.parametrize("not_an_id", NOT_IDS)
def test_only_full_ids_reach_git(origin: OriginRepo, backend: GitConfigBackend, not_an_id: str) -> None:
    commit = origin.write({"a": "1"})
    backend.fetch()
    for read in (
        lambda: backend.tree(not_an_id),
        lambda: backend.advance(backend.tree(commit), not_an_id),
        lambda: backend.blob(not_an_id, limit=1),
        lambda: backend.has(not_an_id),
        lambda: backend.commit(not_an_id),
        lambda: backend.reachable(not_an_id),
        lambda: backend.is_ancestor(not_an_id, commit),
        lambda: backend.is_ancestor(commit, not_an_id),
        lambda: backend.first_parents(not_an_id, ["a"], limit=1),
        lambda: backend.pin(not_an_id),
    ):
        with pytest.raises(ValueError, match="40 hexadecimal"):
            read()


def test_tree_keeps_symlinks_and_submodules_with_their_mode(origin: OriginRepo, backend: GitConfigBackend) -> None:
    submodule = origin.write({"plain.yml": "a: 1\n", "run.sh": "", "deep/er/x.toml": ""})
    (origin.work / "run.sh").chmod(0o755)
    (origin.work / "link").symlink_to("/etc/passwd")
    git(origin.work, "update-index", "--add", "--cacheinfo", f"160000,{submodule},module")
    (origin.work / "module").mkdir()
    commit = origin.write({'od d "name".yml': "", "ünï.yml": "", "new\nline": ""})
    backend.fetch()
    blobs = backend.tree(commit).blobs
    assert {path: blob.mode for path, blob in blobs.items()} == {
        "plain.yml": "100644",
        "run.sh": "100755",
        "deep/er/x.toml": "100644",
        "link": "120000",
        "module": "160000",
        'od d "name".yml': "100644",
        "ünï.yml": "100644",
        "new\nline": "100644",
    }
    assert blobs["module"] == Blob("160000", submodule)
    assert backend.blob(blobs["link"].id, limit=100) == b"/etc/passwd"


def test_path_that_is_not_utf8_is_left_out(origin: OriginRepo, backend: GitConfigBackend) -> None:
    first = origin.write({"a": "1"})
    (origin.work / os.fsdecode(b"caf\xe9.yml")).write_text("x")
    second = origin.write({"b": "2"})
    backend.fetch()
    assert set(backend.tree(second).blobs) == {"a", "b"}
    assert backend.advance(backend.tree(first), second)[1] == {"b"}


def test_advance_tells_what_changed_and_makes_the_same_tree(origin: OriginRepo, backend: GitConfigBackend) -> None:
    first = origin.write({"kept": "k", "changed": "1", "gone": "g", "file": "f", "folder/x": "x", "moved": "m" * 99})
    (origin.work / "moved").rename(origin.work / "elsewhere")
    (origin.work / "kept").chmod(0o755)
    second = origin.write({"changed": "2", "gone": None, "file": None, "folder/x": None})
    third = origin.write({"file/inner": "i", "folder": "now a file", "new": "n"})
    backend.fetch()

    tree, changed = backend.advance(backend.tree(first), second)
    assert changed == {"changed", "gone", "file", "folder/x", "moved", "elsewhere", "kept"}
    assert tree == backend.tree(second)

    tree, changed = backend.advance(tree, third)
    assert changed == {"file/inner", "folder", "new"}
    assert tree == backend.tree(third)

    back, changed = backend.advance(tree, first)
    assert back == backend.tree(first)
    assert backend.advance(back, first) == (back, frozenset())


def test_advance_is_right_for_any_two_trees(origin: OriginRepo, backend: GitConfigBackend) -> None:
    dice = random.Random(7)
    names = [f"{folder}{name}" for folder in ("", "g/", "g/h/") for name in "abcdef"]
    commits = []
    present: set[str] = set()
    for _ in range(4):
        files: dict[str, str | None] = {name: str(dice.random()) for name in dice.sample(names, 5)}
        files |= dict.fromkeys(dice.sample(sorted(present - files.keys()), min(3, len(present - files.keys()))))
        present = (present | files.keys()) - {name for name, text in files.items() if text is None}
        commits.append(origin.write(files))
    backend.fetch()
    for old in commits:
        for new in commits:
            expected = backend.tree(new)
            differing = frozenset(path for path, _ in backend.tree(old).blobs.items() ^ expected.blobs.items())
            assert backend.advance(backend.tree(old), new) == (expected, differing)


def test_advance_from_a_commit_that_was_collected(origin: OriginRepo, backend: GitConfigBackend) -> None:
    base = origin.write({"a": "1", "b": "1"})
    lost = origin.write({"a": "2"})
    backend.fetch()
    tree = backend.tree(lost)
    origin.force(base)
    other = origin.write({"b": "3"})
    backend.rebuild()
    assert not backend.has(lost)
    assert backend.advance(tree, other) == (backend.tree(other), frozenset({"a", "b"}))


def test_blob_over_the_limit_is_refused_by_its_size(origin: OriginRepo, backend: GitConfigBackend) -> None:
    commit = origin.write({"big": "x" * 5000, "empty": "", "binary": bytes(range(256)) * 9})
    backend.fetch()
    blobs = backend.tree(commit).blobs
    with pytest.raises(BlobTooLarge) as caught:
        backend.blob(blobs["big"].id, limit=4999)
    assert (caught.value.size, caught.value.limit) == (5000, 4999)
    assert backend.blob(blobs["big"].id, limit=5000) == b"x" * 5000
    assert backend.blob(blobs["empty"].id, limit=0) == b""
    assert backend.blob(blobs["binary"].id, limit=9999) == bytes(range(256)) * 9


def test_unknown_objects_and_wrong_kinds_are_told_apart_from_content(
    origin: OriginRepo, backend: GitConfigBackend
) -> None:
    commit = origin.write({"a": "1"})
    backend.fetch()
    blob = backend.tree(commit).blobs["a"].id
    assert backend.has(commit)
    assert not backend.has(blob)
    assert not backend.has(UNKNOWN)
    for read in (
        lambda: backend.tree(UNKNOWN),
        lambda: backend.tree(blob),
        lambda: backend.advance(backend.tree(commit), UNKNOWN),
        lambda: backend.blob(UNKNOWN, limit=1),
        lambda: backend.blob(commit, limit=10_000),
        lambda: backend.commit(blob),
    ):
        with pytest.raises(ObjectLost):
            read()


def test_reads_of_an_installed_commit_start_no_process(origin: OriginRepo, backend: GitConfigBackend) -> None:
    commit = origin.write({"a": "1"})
    backend.fetch()
    blob = backend.tree(commit).blobs["a"].id
    backend.blob(blob, limit=1)
    before = readers()
    assert len(before) == 2
    for _ in range(50):
        backend.blob(blob, limit=1)
        backend.has(UNKNOWN)
        backend.has(commit)
        backend.commit(commit)
    assert readers() == before
    backend.close()
    assert readers() == set()


def test_reader_survives_the_end_of_its_processes(origin: OriginRepo, backend: GitConfigBackend) -> None:
    commit = origin.write({"a": "1"})
    backend.fetch()
    blob = backend.tree(commit).blobs["a"].id
    for _ in range(3):
        assert backend.blob(blob, limit=1) == b"1"
        for pid in readers():
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not readers())
        assert backend.has(commit)
        assert backend.blob(blob, limit=1) == b"1"


def test_reader_sees_what_another_process_fetched_and_repacked(
    tmp_path: Path, origin: OriginRepo, backend: GitConfigBackend, make_backend: MakeBackend
) -> None:
    first = origin.write({f"f{number}": str(number) for number in range(20)})
    puller = make_backend(origin.url)
    puller.fetch()
    assert backend.has(first)
    old = backend.tree(first).blobs

    second = origin.write({"new": "n"})
    assert not backend.has(second)
    puller.fetch()
    assert backend.has(second)
    assert backend.blob(backend.tree(second).blobs["new"].id, limit=1) == b"n"

    for _ in range(2):
        git(tmp_path / "mirror" / "current", "gc", "--quiet", "--prune=now")
        git(tmp_path / "mirror" / "current", "repack", "-a", "-d", "-f", "-q")
        for path, blob in old.items():
            assert backend.blob(blob.id, limit=9) == path[1:].encode()


def test_threads_that_read_at_once_each_get_their_own(origin: OriginRepo, backend: GitConfigBackend) -> None:
    texts = {f"f{number}": f"{number} " * (number * 50) for number in range(200)}
    commit = origin.write(texts)
    backend.fetch()
    blobs = backend.tree(commit).blobs
    with ThreadPoolExecutor(8) as pool:
        read = dict(pool.map(lambda path: (path, backend.blob(blobs[path].id, limit=1 << 20)), texts))
    assert read == {path: text.encode() for path, text in texts.items()}


def test_child_of_a_fork_reads_with_processes_of_its_own(origin: OriginRepo, backend: GitConfigBackend) -> None:
    commit = origin.write({"a": "1"})
    backend.fetch()
    blob = backend.tree(commit).blobs["a"].id
    backend.blob(blob, limit=1)
    before = readers()
    child = os.fork()
    if child == 0:
        right = backend.blob(blob, limit=1) == b"1" and before.isdisjoint(readers())
        backend.close()
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert backend.blob(blob, limit=1) == b"1"
    assert readers() == before


def test_complaints_of_git_never_stop_the_reader(tmp_path: Path, origin: OriginRepo, backend: GitConfigBackend) -> None:
    commit = origin.write({"a": "1"})
    backend.fetch()
    damaged = origin.write({"a": "2"})
    backend.fetch()
    objects = tmp_path / "mirror" / "current" / "objects"
    file = objects / damaged[:2] / damaged[2:]
    file.chmod(0o600)
    file.write_bytes(b"nonsense")
    for _ in range(1500):  # each leaves a line or more; a pipe holds 64 KiB
        assert not backend.has(damaged)
    assert backend.has(commit)


def test_reader_starts_in_a_session_of_its_own(origin: OriginRepo, backend: GitConfigBackend) -> None:
    backend.fetch()
    backend.has(UNKNOWN)
    assert readers()
    assert all(os.getsid(pid) == pid for pid in readers())
