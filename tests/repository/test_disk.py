"""What a mirror takes of the disk, after many fetches, and after many histories that the remote has thrown away."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from devstack.origin import OriginRepo, git
from tests.repository.conftest import MakeBackend

#: Files that do not get smaller by packing, and so many of them that Git keeps each fetch as a pack.
FILES, SIZE = 110, 500
#: More than the packs (50) that Git leaves alone.
ROUNDS = 52


def import_histories(origin: OriginRepo) -> list[str]:
    """Commits without a parent in the origin, each with files of its own, on no branch yet. Their ids."""
    chance = random.Random(7)
    stream = bytearray()
    for number in range(ROUNDS):
        stream += b"commit refs/prepared/%d\ncommitter a <a@b> 1700000000 +0000\ndata 1\nm\n" % number
        for file in range(FILES):
            stream += b"M 100644 inline file%d.txt\ndata %d\n%b\n" % (file, SIZE, chance.randbytes(SIZE))
    subprocess.run(["git", "-C", str(origin.bare), "fast-import", "--quiet"], input=bytes(stream), check=True)
    return [git(origin.bare, "rev-parse", f"refs/prepared/{number}") for number in range(ROUNDS)]


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.slow
def test_a_mirror_is_packed_after_many_fetches_and_shrinks_when_rewritten_histories_are_let_go(
    tmp_path: Path, origin: OriginRepo, make_backend: MakeBackend
) -> None:
    now = [1_700_000_000.0]
    backend = make_backend(origin.url, clock=lambda: now[0])
    mirror, once = tmp_path / "mirror" / "current", FILES * SIZE
    commits = import_histories(origin)
    for commit in commits:
        git(origin.bare, "update-ref", "refs/heads/main", commit)
        assert backend.fetch(expecting=True).branches == {"main": commit}
        backend.pin(commit)
    assert len(packs(mirror)) == ROUNDS

    backend.maintain(purge=backend.unpin_older_than(30))
    assert len(packs(mirror)) == 1
    assert size_of(mirror) > ROUNDS * once
    assert all(backend.has(commit) for commit in commits)

    now[0] += 32 * 86_400
    backend.pin(commits[-2])
    backend.maintain(purge=backend.unpin_older_than(30))
    backend.close()
    assert [backend.has(commit) for commit in commits[-4:]] == [False, False, True, True]
    assert size_of(mirror) < 3 * once
    tree = backend.tree(commits[-1])
    assert len(backend.blob(tree.blobs["file0.txt"].id, limit=SIZE + 1)) == SIZE


def packs(mirror: Path) -> list[Path]:
    return list((mirror / "objects" / "pack").glob("*.pack"))
