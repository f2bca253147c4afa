"""Fetching: what the mirror and its refs are after all that can happen at the remote."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from app.errors import RepositoryUnavailable
from app.repository import GitConfigBackend
from devstack.origin import OriginRepo, git
from tests.repository.conftest import MakeBackend
from tests.repository.processes import working_for
from tests.support import eventually


def put_before_git(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every `git` run a shell script first."""
    folder.mkdir()
    (folder / "git").write_text(f'#!/bin/sh\nPATH=${{PATH#*:}}; export PATH\n{script}\nexec git "$@"\n')
    (folder / "git").chmod(0o700)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_without_a_clone_nothing_is_ready_and_reads_say_so(backend: GitConfigBackend) -> None:
    assert not backend.ready
    for read in (backend.open, backend.refs, lambda: backend.tree("0" * 40), lambda: backend.has("0" * 40)):
        with pytest.raises(RepositoryUnavailable, match="no clone"):
            read()


def test_first_fetch_clones_and_another_worker_opens_it_without_network(
    origin: OriginRepo, backend: GitConfigBackend, make_backend: MakeBackend
) -> None:
    commit = origin.write({"a.yml": "a: 1\n"})
    assert backend.fetch().branches == {"main": commit}

    other = make_backend("/there/is/nothing/here")
    other.open()
    assert other.ready
    assert other.refs() == backend.refs()
    assert other.blob(other.tree(commit).blobs["a.yml"].id, limit=100) == b"a: 1\n"


def test_empty_repository_is_ready_and_has_no_refs_until_the_first_push(
    origin: OriginRepo, backend: GitConfigBackend
) -> None:
    refs = backend.fetch()
    assert backend.ready
    assert (refs.branches, refs.tags, refs.default) == ({}, {}, None)

    commit = origin.write({"a.yml": ""})
    refs = backend.fetch()
    assert (refs.branches, refs.default) == ({"main": commit}, "main")


def test_default_branch_is_what_the_remote_says_and_follows_it(tmp_path: Path, make_backend: MakeBackend) -> None:
    origin = OriginRepo(tmp_path / "trunk", default="trunk")
    origin.write({"a": "1"})
    origin.branch("next")
    backend = make_backend(origin.url)
    assert backend.fetch().default == "trunk"

    git(origin.bare, "symbolic-ref", "HEAD", "refs/heads/next")
    assert backend.fetch().default == "next"
    assert backend.refs().default == "next"

    git(origin.bare, "update-ref", "--no-deref", "HEAD", origin.head)
    assert backend.fetch().default is None


def test_tags_are_peeled_and_what_is_no_commit_is_left_out(origin: OriginRepo, backend: GitConfigBackend) -> None:
    commit = origin.write({"a": "1"})
    origin.tag("light")
    origin.tag("annotated", message="a release")
    git(origin.work, "tag", "-a", "-m", "twice", "nested", "annotated")
    git(origin.work, "tag", "blob", "HEAD:a")
    git(origin.work, "tag", "-a", "-m", "a tree", "tree", "HEAD^{tree}")
    git(origin.work, "push", "--quiet", "origin", "--tags")
    assert backend.fetch().tags == {"light": commit, "annotated": commit, "nested": commit}


def test_tag_and_branch_of_one_name_stand_side_by_side(origin: OriginRepo, backend: GitConfigBackend) -> None:
    tagged = origin.write({"a": "1"})
    origin.tag("v1")
    git(origin.work, "checkout", "--quiet", "-b", "v1")
    branched = origin.write({"a": "2"})
    refs = backend.fetch()
    assert (refs.tags["v1"], refs.branches["v1"]) == (tagged, branched)


def test_odd_names_of_refs_arrive_as_they_are(origin: OriginRepo, backend: GitConfigBackend) -> None:
    commit = origin.write({"a": "1"})
    names = ["release/1.0", "ünï-cödé", 'quo"te', "-dash", "a&b;c", "$(x)", "HEAD", "main'"]
    for name in [*names, "zero\u200bwidth"]:
        git(origin.bare, "update-ref", f"refs/heads/{name}", commit)
    git(origin.bare, "update-ref", b"refs/heads/latin-\xe9", commit)
    assert backend.fetch().branches == dict.fromkeys(["main", *names], commit)
    assert backend.fetch().branches == dict.fromkeys(["main", *names], commit)


def test_other_refs_of_the_remote_stay_there(origin: OriginRepo, backend: GitConfigBackend) -> None:
    commit = origin.write({"a": "1"})
    git(origin.bare, "update-ref", "refs/pull/1/head", commit)
    git(origin.bare, "update-ref", "refs/pull/refs/heads/trick", commit)
    backend.fetch()
    refs = backend.fetch()
    assert (refs.branches, refs.tags) == ({"main": commit}, {})


def test_deleted_branch_goes_and_a_file_may_take_a_folders_place(origin: OriginRepo, backend: GitConfigBackend) -> None:
    commit = origin.write({"a": "1"})
    git(origin.bare, "update-ref", "refs/heads/a/b", commit)
    assert set(backend.fetch().branches) == {"main", "a/b"}

    git(origin.bare, "update-ref", "-d", "refs/heads/a/b")
    git(origin.bare, "update-ref", "refs/heads/a", commit)
    assert set(backend.fetch().branches) == {"main", "a"}

    git(origin.bare, "update-ref", "-d", "refs/heads/a")
    git(origin.bare, "update-ref", "refs/heads/a/b/c", commit)
    assert set(backend.fetch().branches) == {"main", "a/b/c"}

    git(origin.bare, "update-ref", "-d", "refs/heads/a/b/c")
    assert set(backend.fetch().branches) == {"main"}


def test_forced_push_and_moved_tag_are_followed(origin: OriginRepo, backend: GitConfigBackend) -> None:
    first = origin.write({"a": "1"})
    second = origin.write({"a": "2"})
    origin.tag("latest")
    assert backend.fetch().tags == {"latest": second}

    origin.force(first)
    origin.tag("latest")
    refs = backend.fetch()
    assert (refs.branches["main"], refs.tags["latest"]) == (first, first)


def test_origin_gone_is_told_without_paths_and_the_mirror_stays(origin: OriginRepo, backend: GitConfigBackend) -> None:
    commit = origin.write({"a": "1"})
    backend.fetch()
    origin.bare.rename(origin.bare.with_suffix(".away"))
    with pytest.raises(RepositoryUnavailable, match="no such repository") as caught:
        backend.fetch()
    assert str(origin.bare) not in str(caught.value)
    assert backend.refs().branches == {"main": commit}

    origin.bare.with_suffix(".away").rename(origin.bare)
    assert backend.fetch().branches == {"main": commit}


def test_failed_first_clone_leaves_nothing_half_done(
    tmp_path: Path, origin: OriginRepo, make_backend: MakeBackend
) -> None:
    with pytest.raises(RepositoryUnavailable):
        make_backend(str(tmp_path / "nowhere")).fetch()
    backend = make_backend(origin.url)
    assert not backend.ready
    assert list((tmp_path / "mirror").glob("clone-*")) == []

    commit = origin.write({"a": "1"})
    assert backend.fetch().branches == {"main": commit}


def test_folder_that_cannot_be_written_is_told_without_its_path(
    tmp_path: Path, origin: OriginRepo, make_backend: MakeBackend
) -> None:
    (tmp_path / "mirror").write_text("a file where the folder should be")
    with pytest.raises(RepositoryUnavailable, match="cannot be written") as caught:
        make_backend(origin.url).fetch()
    assert str(tmp_path) not in str(caught.value)


def test_relative_path_and_file_url_are_cloned_too(
    tmp_path: Path, origin: OriginRepo, make_backend: MakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = origin.write({"a": "1"})
    monkeypatch.chdir(tmp_path)
    for url in ("origin/origin.git", origin.bare.as_uri()):
        assert make_backend(url).rebuild().branches == {"main": commit}


def test_environment_of_the_server_does_not_reach_git(
    tmp_path: Path, origin: OriginRepo, backend: GitConfigBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_DIR", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.bare'='nonsense'")
    (tmp_path / "gitconfig").write_text(f'[url "file:///nowhere"]\n\tinsteadOf = {origin.url}\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    commit = origin.write({"a": "1"})
    backend.fetch()
    assert backend.blob(backend.tree(commit).blobs["a"].id, limit=10) == b"1"


def test_mirror_is_bare_and_its_configuration_holds_nothing_of_ours(
    tmp_path: Path, origin: OriginRepo, backend: GitConfigBackend
) -> None:
    origin.write({"a": "1"})
    backend.fetch()
    mirror = tmp_path / "mirror" / "current"
    assert git(mirror, "rev-parse", "--is-bare-repository") == "true"
    assert "origin" not in (mirror / "config").read_text()
    assert not (mirror / "hooks").exists()
    assert re.fullmatch("clone-[0-9a-f]{16}", mirror.readlink().name)


def test_fetch_that_finds_nothing_starts_two_processes(
    tmp_path: Path, origin: OriginRepo, backend: GitConfigBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.write({"a": "1"})
    backend.fetch()
    started = tmp_path / "started"
    put_before_git(tmp_path / "bin", f'echo "$1" >> {started}', monkeypatch)
    backend.fetch()
    assert started.read_text().split() == ["ls-remote", "for-each-ref"]


def test_repository_and_mirror_may_belong_to_another_user(
    tmp_path: Path, origin: OriginRepo, backend: GitConfigBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = origin.write({"a": "1"})
    put_before_git(tmp_path / "bin", "export GIT_TEST_ASSUME_DIFFERENT_OWNER=1", monkeypatch)
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(["git", "ls-remote", origin.url], check=True, capture_output=True)
    assert backend.fetch().branches == {"main": commit}
    assert backend.blob(backend.tree(commit).blobs["a"].id, limit=1) == b"1"
    backend.pin(commit)
    backend.maintain()
    assert backend.rebuild().branches == {"main": commit}
    assert backend.has(commit)


def test_fetch_that_needs_long_gets_more_time_at_the_next_attempt(
    tmp_path: Path, origin: OriginRepo, make_backend: MakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.write({"a": "1"})
    backend = make_backend(origin.url, timeout=0.8)
    backend.fetch()
    commit = origin.write({"a": "2"})
    put_before_git(tmp_path / "bin", 'test "$1" != fetch || sleep 1.2', monkeypatch)
    with pytest.raises(RepositoryUnavailable, match=r"within 0\.8 s"):
        backend.fetch()
    eventually(lambda: working_for(tmp_path / "mirror") == [])
    assert backend.fetch().branches == {"main": commit}


def test_fetch_that_fails_again_and_again_leads_to_a_new_clone(
    tmp_path: Path, origin: OriginRepo, backend: GitConfigBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.write({"a": "1"})
    backend.fetch()
    commit = origin.write({"a": "2"})
    first = (tmp_path / "mirror" / "current").resolve()
    script = f'test "$1$GIT_DIR" != fetch{first} || exit 7'
    put_before_git(tmp_path / "bin", script, monkeypatch)
    for _ in range(2):
        with pytest.raises(RepositoryUnavailable, match="status 7"):
            backend.fetch()
    assert backend.fetch().branches == {"main": commit}
