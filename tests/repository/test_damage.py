"""A damaged mirror: a new clone takes its place, and every worker goes over to it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import RepositoryUnavailable
from app.repository import GitConfigBackend, ObjectLost
from devstack.origin import OriginRepo, git
from tests.repository.conftest import MakeBackend


def no_objects(mirror: Path) -> None:
    shutil.rmtree(mirror / "objects")
    (mirror / "objects").mkdir()


def overwritten_objects(mirror: Path) -> None:
    for file in (mirror / "objects").glob("??/*"):
        file.chmod(0o600)
        file.write_bytes(b"nonsense")


def empty_objects(mirror: Path) -> None:
    """What a power cut leaves."""
    for file in (mirror / "objects").glob("??/*"):
        file.chmod(0o600)
        file.write_bytes(b"")


def short_pack(mirror: Path) -> None:
    git(mirror, "repack", "-a", "-d", "-q")
    for file in (mirror / "objects" / "pack").glob("*.pack"):
        file.chmod(0o600)
        file.write_bytes(file.read_bytes()[:-40])


def bad_index_of_pack(mirror: Path) -> None:
    git(mirror, "repack", "-a", "-d", "-q")
    for file in (mirror / "objects" / "pack").glob("*.idx"):
        file.chmod(0o600)
        file.write_bytes(b"nonsense" * 200)


def no_head(mirror: Path) -> None:
    (mirror / "HEAD").unlink()


def bad_head(mirror: Path) -> None:
    (mirror / "HEAD").write_bytes(b"\0" * 40)


def bad_config(mirror: Path) -> None:
    (mirror / "config").write_text("nonsense [\n")


def bad_packed_refs(mirror: Path) -> None:
    (mirror / "packed-refs").write_text("nonsense nonsense\n")


def empty_ref(mirror: Path) -> None:
    (mirror / "refs" / "heads" / "main").write_text("")


def ref_to_nowhere(mirror: Path) -> None:
    (mirror / "refs" / "heads" / "main").write_text("12345678" * 5 + "\n")


def gone(mirror: Path) -> None:
    shutil.rmtree(mirror)


def link_only(mirror: Path) -> None:
    for file in mirror.iterdir():
        shutil.rmtree(file) if file.is_dir() else file.unlink()


DAMAGES = [
    no_objects,
    overwritten_objects,
    empty_objects,
    short_pack,
    bad_index_of_pack,
    no_head,
    bad_head,
    bad_config,
    bad_packed_refs,
    empty_ref,
    ref_to_nowhere,
    gone,
    link_only,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_mirror_is_made_anew_by_the_next_fetch_of_something_new(
    tmp_path: Path, origin: OriginRepo, make_backend: MakeBackend, damage: Callable[[Path], None]
) -> None:
    puller, worker = make_backend(origin.url), make_backend(origin.url)
    old = origin.write({"a": "1", "b": "2"})
    puller.fetch()
    assert worker.has(old)
    damage((tmp_path / "mirror" / "current").resolve())

    new = origin.write({"a": "3"})
    assert puller.fetch().branches == {"main": new}
    for backend in (puller, worker):
        for commit, text in ((old, b"1"), (new, b"3")):
            assert backend.blob(backend.tree(commit).blobs["a"].id, limit=9) == text
        assert backend.refs().default == "main"
    assert len(list((tmp_path / "mirror").glob("clone-*"))) == 1


@pytest.mark.parametrize("damage", [no_objects, overwritten_objects, short_pack])
def test_lost_object_that_a_read_meets_is_mended_by_the_next_fetch(
    tmp_path: Path, origin: OriginRepo, make_backend: MakeBackend, damage: Callable[[Path], None]
) -> None:
    puller = make_backend(origin.url)
    commit = origin.write({"a": "1", "b": "2"})
    puller.fetch()
    blob = puller.tree(commit).blobs["a"].id
    damage(tmp_path / "mirror" / "current")
    with pytest.raises(ObjectLost):
        puller.blob(blob, limit=9)
    puller.fetch()
    assert puller.blob(blob, limit=9) == b"1"


def test_object_that_never_was_costs_one_new_clone_and_no_more(
    tmp_path: Path, origin: OriginRepo, backend: GitConfigBackend
) -> None:
    origin.write({"a": "1"})
    link = tmp_path / "mirror" / "current"
    clones = []
    for _ in range(3):
        backend.fetch()
        clones.append(link.readlink())
        with pytest.raises(ObjectLost):
            backend.blob("12345678" * 5, limit=9)
    assert clones[0] != clones[1] == clones[2]


def test_rebuild_keeps_pinned_commits(origin: OriginRepo, backend: GitConfigBackend) -> None:
    base = origin.write({"a": "base"})
    served = origin.write({"a": "served"})
    backend.fetch()
    backend.pin(served)
    origin.force(base)
    backend.fetch()
    assert backend.rebuild().branches == {"main": base}
    assert backend.blob(backend.tree(served).blobs["a"].id, limit=9) == b"served"


def test_rebuild_that_fails_leaves_the_former_clone(
    tmp_path: Path, origin: OriginRepo, backend: GitConfigBackend
) -> None:
    commit = origin.write({"a": "1"})
    backend.fetch()
    origin.bare.rename(origin.bare.with_suffix(".away"))
    with pytest.raises(RepositoryUnavailable):
        backend.rebuild()
    assert backend.blob(backend.tree(commit).blobs["a"].id, limit=9) == b"1"
    assert len(list((tmp_path / "mirror").glob("clone-*"))) == 1


def test_workers_notice_every_swap(origin: OriginRepo, make_backend: MakeBackend) -> None:
    puller, worker = make_backend(origin.url), make_backend(origin.url)
    for number in range(4):
        commit = origin.write({"a": str(number)})
        puller.rebuild()
        assert worker.has(commit)
        assert worker.blob(worker.tree(commit).blobs["a"].id, limit=9) == str(number).encode()


def test_fetch_removes_locks_that_a_killed_fetch_left(
    tmp_path: Path, origin: OriginRepo, backend: GitConfigBackend
) -> None:
    origin.write({"a": "1"})
    backend.fetch()
    mirror = tmp_path / "mirror" / "current"
    (mirror / "refs" / "heads" / "main.lock").touch()
    commit = origin.write({"a": "2"})
    with pytest.raises(RepositoryUnavailable):
        backend.fetch()
    assert backend.fetch().branches == {"main": commit}
