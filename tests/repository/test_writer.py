"""Commits without a work tree: what reaches the origin, how a refusal is told, and that nothing stays behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import PushRejected, RepositoryUnavailable
from app.model import Blob
from app.repository import Author, GitConfigBackend, GitCredentials, GitWriter, HeadMoved, NewFile, PushUncertain
from devstack.origin import OriginRepo, git
from tests.repository.servers import http_server, refusing_port, silent_server

ADA = Author("ada", "ada@example.org")
ONE = NewFile(b"1")
MakeWriter = Callable[..., GitWriter]


@pytest.fixture
def make_writer(tmp_path: Path) -> MakeWriter:
    def make(url: str, *, credentials: GitCredentials | None = None, timeout: float = 60) -> GitWriter:
        folder = tmp_path / "drafts"
        return GitWriter(url, tmp_path / "mirror", folder, credentials=credentials or GitCredentials(), timeout=timeout)

    return make


@pytest.fixture
def writer(origin: OriginRepo, make_writer: MakeWriter) -> GitWriter:
    return make_writer(origin.url)


@pytest.fixture
def head(origin: OriginRepo, backend: GitConfigBackend) -> str:
    commit = origin.write({"a.yml": "a: 1\n", "dir/b.yml": "b: 1\n", "dir/c.sh": "true\n"}, "first")
    backend.fetch()
    return commit


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def change(writer: GitWriter, parent: str, files: dict[str, NewFile | Blob | None], *, branch: str = "main") -> str:
    with writer.drafted(parent, files, author=ADA, message="a change") as draft:
        writer.push(draft, branch)
        return draft.commit


def test_commit_holds_what_was_written_deleted_and_left_alone(
    origin: OriginRepo, writer: GitWriter, backend: GitConfigBackend, head: str
) -> None:
    old = backend.tree(head).blobs["a.yml"]
    commit = change(writer, head, {"a.yml": None, "new/deep/x": NewFile(b"\x00\xff\r\n", "100755"), "again.yml": old})

    assert origin.pushed() == commit
    assert backend.fetch().branches == {"main": commit}
    blobs = backend.tree(commit).blobs
    assert set(blobs) == {"dir/b.yml", "dir/c.sh", "new/deep/x", "again.yml"}
    assert backend.blob(blobs["new/deep/x"].id, limit=100) == b"\x00\xff\r\n"
    assert blobs["new/deep/x"].mode == "100755"
    assert blobs["again.yml"] == old
    assert git(origin.bare, "rev-list", "--parents", "-1", commit) == f"{commit} {head}"
    assert "dangling" not in git(origin.bare, "fsck", "--strict")


def test_author_is_the_principal_and_committer_the_server(origin: OriginRepo, writer: GitWriter, head: str) -> None:
    message = "Überschrift\n\n-x --option <b>\n"
    with writer.drafted(head, {"x": ONE}, author=Author("Ada <L>\nX", "ada@example.org>"), message=message) as draft:
        writer.push(draft, "main")
    told = git(origin.bare, "log", "-1", "--format=%an|%ae|%cn|%ce|%B", "main")
    assert told == "Ada LX|ada@example.org|Config Server||Überschrift\n\n-x --option <b>"


@pytest.mark.parametrize("name", ["", "<>", ".,;", "\n", "a" * 4000, "--author=x"])
def test_any_subject_makes_an_author(origin: OriginRepo, writer: GitWriter, head: str, name: str) -> None:
    with writer.drafted(head, {"x": ONE}, author=Author(name), message="m") as draft:
        writer.push(draft, "main")
    assert git(origin.bare, "log", "-1", "--format=%an", "main") == (name[:200].strip(".,;<>\n") or "unknown")


def test_nothing_stays_behind_on_this_machine(tmp_path: Path, origin: OriginRepo, writer: GitWriter, head: str) -> None:
    before = contents(tmp_path / "mirror")
    origin.hook("pre-receive", "exit 1")
    with pytest.raises(PushRejected):
        change(writer, head, {"x": NewFile(b"rejected")})
    origin.hook("pre-receive", None)
    change(writer, head, {"x": NewFile(b"pushed")})
    assert contents(tmp_path / "mirror") == before
    assert contents(tmp_path / "drafts") == set()


def test_draft_that_is_not_pushed_is_nowhere(origin: OriginRepo, tmp_path: Path, writer: GitWriter, head: str) -> None:
    with writer.drafted(head, {"x": ONE}, author=ADA, message="m") as draft:
        assert draft.parent == head
    assert origin.pushed() == head
    assert contents(tmp_path / "drafts") == set()


def test_hook_that_refuses_is_told_in_its_own_words(origin: OriginRepo, writer: GitWriter, head: str) -> None:
    origin.hook(
        "pre-receive",
        'echo "Policy: two reviewers are needed"; '
        "printf 'see https://user:hunter2@git.example/p?token=abc or ops@git.example:x \\033[31mred\\n' >&2; "
        'echo "password=swordfish"; exit 1',
    )
    with pytest.raises(PushRejected) as caught:
        change(writer, head, {"x": ONE})
    told = str(caught.value)
    assert told.startswith("pre-receive hook declined; Policy: two reviewers are needed; see [address]")
    assert "\\u001b[31mred" in told
    for secret in ("hunter2", "git.example", "swordfish", "abc", str(origin.bare), "\033"):
        assert secret not in told
    assert origin.pushed() == head


def test_words_of_a_hook_are_bounded(origin: OriginRepo, writer: GitWriter, head: str) -> None:
    origin.hook("pre-receive", "for i in $(seq 500); do echo 0123456789012345678901234567890123456789$i; done; exit 1")
    with pytest.raises(PushRejected) as caught:
        change(writer, head, {"x": ONE})
    assert len(str(caught.value)) < 7000


def test_protected_branch_is_told_as_the_remote_says_it(origin: OriginRepo, writer: GitWriter, head: str) -> None:
    origin.hook("update", 'echo "GH006: Protected branch update failed for $1."; exit 1')
    with pytest.raises(PushRejected, match=r"hook declined; GH006: Protected branch update failed for refs/heads/main"):
        change(writer, head, {"x": ONE})


def test_branch_that_moved_is_not_overwritten(origin: OriginRepo, writer: GitWriter, head: str) -> None:
    theirs = origin.write({"theirs": "1"})
    with pytest.raises(HeadMoved):
        change(writer, head, {"x": ONE})
    assert origin.pushed() == theirs


def test_branch_that_was_set_back_is_not_set_forth_again(
    origin: OriginRepo, writer: GitWriter, backend: GitConfigBackend, head: str
) -> None:
    second = origin.write({"second": "1"})
    backend.fetch()
    origin.force(head)
    with pytest.raises(HeadMoved):
        change(writer, second, {"x": ONE})
    assert origin.pushed() == head


def test_branch_that_was_deleted_is_not_made_again(origin: OriginRepo, writer: GitWriter, head: str) -> None:
    origin.branch("other")
    origin.delete_branch("main")
    with pytest.raises(HeadMoved):
        change(writer, head, {"x": ONE})
    assert "refs/heads/main" not in git(origin.bare, "for-each-ref")


@pytest.mark.slow
def test_of_many_pushes_at_once_exactly_one_arrives(origin: OriginRepo, writer: GitWriter, head: str) -> None:
    outcomes: list[str] = []
    ready = threading.Barrier(4)

    def push(number: int) -> None:
        with writer.drafted(head, {"x": NewFile(b"%d" % number)}, author=ADA, message="m") as draft:
            ready.wait(timeout=60)
            try:
                writer.push(draft, "main")
                outcomes.append(draft.commit)
            except HeadMoved:
                outcomes.append("moved")

    threads = [threading.Thread(target=push, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("moved") == 3
    assert origin.pushed() in outcomes
    git(origin.bare, "fsck", "--strict")


def test_push_that_hangs_before_the_remote_has_answered_is_uncertain(
    tmp_path: Path, writer: GitWriter, make_writer: MakeWriter, head: str
) -> None:
    with silent_server() as port:
        away = make_writer(f"git://127.0.0.1:{port}/x", timeout=0.3)
        with (
            writer.drafted(head, {"x": ONE}, author=ADA, message="m") as draft,
            pytest.raises(PushUncertain) as caught,
        ):
            away.push(draft, "main")
    assert str(port) not in str(caught.value)
    assert contents(tmp_path / "drafts") == set()


@pytest.mark.slow
def test_push_that_arrived_although_its_answer_did_not_is_a_success(
    origin: OriginRepo, make_writer: MakeWriter, head: str
) -> None:
    origin.hook("post-receive", "exec sleep 30 >/dev/null 2>&1")
    patient, hasty = make_writer(origin.url), make_writer(origin.url, timeout=2)
    with patient.drafted(head, {"x": ONE}, author=ADA, message="m") as draft:
        hasty.push(draft, "main")
    assert origin.pushed() == draft.commit


def test_remote_that_refuses_the_connection_took_nothing(make_writer: MakeWriter, head: str) -> None:
    with refusing_port() as port, pytest.raises(RepositoryUnavailable, match="refuses the connection") as caught:
        change(make_writer(f"git://127.0.0.1:{port}/x"), head, {"x": ONE})
    assert not isinstance(caught.value, HeadMoved | PushUncertain)


def test_credentials_to_write_are_the_ones_that_are_sent(tmp_path: Path, make_writer: MakeWriter, head: str) -> None:
    file = tmp_path / "password"
    file.write_text("wr1te\n")
    with http_server() as asked:
        robot = make_writer(
            f"http://127.0.0.1:{asked.port}/x", credentials=GitCredentials(username="writer", password_file=file)
        )
        with pytest.raises(RepositoryUnavailable, match="refuses the login") as caught:
            change(robot, head, {"x": ONE})
    assert asked.logins[-1] == "writer:wr1te"
    assert "wr1te" not in str(caught.value)


def test_folder_that_a_dead_process_left_is_removed_by_the_next(tmp_path: Path, writer: GitWriter, head: str) -> None:
    for name, age in (("old", 7200), ("young", 60)):
        folder = tmp_path / "drafts" / name
        folder.mkdir(parents=True)
        then = folder.stat().st_mtime - age
        os.utime(folder, (then, then))
    change(writer, head, {"x": ONE})
    assert contents(tmp_path / "drafts") == {"young"}


@pytest.mark.parametrize("parent", ["HEAD", "--all", "main", "0" * 39, "@{upstream}", ""])
def test_only_ids_reach_git(writer: GitWriter, head: str, parent: str) -> None:
    with pytest.raises(ValueError, match="40 hexadecimal"), writer.drafted(parent, {}, author=ADA, message="m"):
        pass


@pytest.mark.parametrize("branch", ["--force", "-x", "a:b", "+main", "a b", "a\nb", "", "refs/../x"])
def test_branch_that_is_no_name_is_refused_before_git_sees_it(writer: GitWriter, head: str, branch: str) -> None:
    with (
        writer.drafted(head, {"x": ONE}, author=ADA, message="m") as draft,
        pytest.raises(ValueError, match="branch"),
    ):
        writer.push(draft, branch)


def test_paths_that_lead_out_of_the_tree_are_refused(writer: GitWriter, head: str) -> None:
    for path in ("../x", "a/../../x", ".git/config", "a/.GIT/hooks/x", "/etc/passwd", "a//b", "git~1/x"):
        with (
            pytest.raises(ValueError, match="not a path"),
            writer.drafted(head, {path: ONE}, author=ADA, message="m"),
        ):
            pass
