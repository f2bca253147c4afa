"""Commits, ancestry and pins."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from app.repository import GitConfigBackend
from devstack.origin import OriginRepo, git
from tests.repository.conftest import MakeBackend

UNKNOWN = "1234567890" * 4


def test_commit_tells_author_time_and_message(origin: OriginRepo, backend: GitConfigBackend) -> None:
    origin.write({"a": "1"})
    author, message = "Björn <b@example.org>".encode("latin-1"), "Grün\n\nzweite Zeile".encode("latin-1")
    old_encoding = ("-c", "i18n.commitEncoding=ISO-8859-1", "commit", "--quiet", "--allow-empty")
    git(origin.work, *old_encoding, "--date=2020-01-01T00:00:00Z", b"--author=" + author, "-m", message)
    commit = origin.push()
    backend.fetch()
    told = backend.commit(commit)
    assert (told.id, told.author, told.message) == (commit, "Björn <b@example.org>", "Grün\n\nzweite Zeile")
    seconds = int(git(origin.work, "show", "-s", "--format=%ct", commit))
    assert datetime.fromisoformat(told.time).timestamp() == seconds
    assert told.time.endswith("Z")


def test_reachable_is_what_a_branch_a_tag_or_a_pin_leads_to(origin: OriginRepo, backend: GitConfigBackend) -> None:
    base = origin.write({"a": "1"})
    tagged = origin.write({"a": "2"})
    origin.tag("v1", message="annotated")
    origin.force(base)
    dropped = origin.write({"a": "3"})
    backend.fetch()
    backend.pin(dropped)
    origin.force(base)
    lost = origin.write({"a": "5"})
    backend.fetch()
    origin.force(base)
    head = origin.write({"a": "4"})
    git(origin.bare, "tag", "a-blob", f"{head}:a")
    backend.fetch()
    assert [backend.reachable(commit) for commit in (base, tagged, head, dropped)] == [True] * 4
    assert backend.has(lost)
    assert not backend.reachable(lost)
    assert not backend.reachable(UNKNOWN)


def test_ancestors(origin: OriginRepo, backend: GitConfigBackend) -> None:
    base = origin.write({"a": "1"})
    left = origin.write({"a": "2"})
    origin.force(base)
    right = origin.write({"a": "3"})
    origin.tag("right")
    origin.branch("left")
    origin.force(left)
    backend.fetch()
    pairs = {(base, left): True, (left, base): False, (left, right): False, (left, left): True, (UNKNOWN, left): False}
    assert {pair: backend.is_ancestor(*pair) for pair in pairs} == pairs


def test_first_parents_that_touch_the_paths_newest_first(origin: OriginRepo, backend: GitConfigBackend) -> None:
    root = origin.write({"a.yml": "0", "*.yml": "star", "d/x": "x"})
    one = origin.write({"a.yml": "1"})
    origin.branch("side")
    side = origin.write({"a.yml": "side"})
    origin.branch("main")
    star = origin.write({"*.yml": "literally"})
    git(origin.work, "merge", "--quiet", "--no-ff", "-m", "merge", "side")
    merge = origin.push()
    other = origin.write({"d/x": "xx", "-dash": "", ":(top)magic": "", "ünï": ""})
    backend.fetch()

    assert backend.first_parents(other, ["a.yml"], limit=9) == [merge, one, root]
    assert side not in backend.first_parents(other, ["a.yml"], limit=9)
    assert backend.first_parents(merge, ["a.yml"], limit=9) == [one, root]
    assert backend.first_parents(other, ["a.yml", "absent"], limit=2) == [merge, one]
    assert backend.first_parents(other, ["*.yml"], limit=9) == [star, root]
    assert backend.first_parents(star, ["d"], limit=9) == [root]
    assert backend.first_parents(root, ["a.yml"], limit=9) == []
    last = origin.write({"a.yml": "2"})
    backend.fetch()
    assert backend.first_parents(last, ["-dash", ":(top)magic", "ünï"], limit=9) == [other]
    assert backend.first_parents(last, [], limit=9) == []
    assert backend.first_parents(last, ["../x", "/etc", "", "a\nb", "a//b"], limit=9) == []
    many = [f"some/folder/of/candidates/application-{number}.properties" for number in range(60_000)]
    assert backend.first_parents(last, [*many, "a.yml"], limit=1) == [merge]


def test_pins_survive_prune_and_collection_until_they_are_old(
    tmp_path: Path, origin: OriginRepo, make_backend: MakeBackend
) -> None:
    now = [1_700_000_000.0]
    backend = make_backend(origin.url, clock=lambda: now[0])
    base = origin.write({"a": "base"})
    served = origin.write({"a": "served"})
    unserved = origin.write({"a": "unserved"})
    backend.fetch()
    tree = backend.tree(served)
    backend.pin(served)
    backend.pin(served)
    origin.force(base)
    backend.fetch()
    mirror = tmp_path / "mirror" / "current"
    collect = ("-c", "gc.reflogExpire=now", "gc", "--quiet", "--prune=now")
    git(mirror, *collect)
    backend.close()
    assert not backend.has(unserved)
    assert backend.blob(tree.blobs["a"].id, limit=9) == b"served"
    assert served not in backend.refs().branches.values()

    now[0] += 29 * 86_400
    backend.unpin_older_than(30)
    git(mirror, *collect)
    backend.close()
    assert backend.has(served)

    now[0] += 3 * 86_400
    backend.unpin_older_than(30)
    git(mirror, *collect)
    backend.close()
    assert not backend.has(served)
    backend.unpin_older_than(30)


def test_maintenance_keeps_everything_readable(origin: OriginRepo, backend: GitConfigBackend) -> None:
    commit = origin.write({"a": "1"})
    backend.fetch()
    backend.maintain()
    assert backend.blob(backend.tree(commit).blobs["a"].id, limit=1) == b"1"
