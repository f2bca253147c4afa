"""Where commits must be signed: what a running server serves of a repository that somebody else can push to."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo, git
from tests.further.several import Several
from tests.serving import Serving, serving_origin
from tests.support import eventually

FILE = "pay.yml"


class Signer:
    """Somebody with an SSH key."""

    def __init__(self, directory: Path, name: str) -> None:
        self.key = directory / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self.key], check=True)
        self.line = f'{name}@example.org namespaces="git" {self.key.with_suffix(".pub").read_text()}'


@dataclass
class Guarded:
    """An origin, a server that serves signed heads of it only, and who may sign."""

    server: Serving
    origin: OriginRepo
    ada: Signer
    mallory: Signer
    allowed: Path

    def push(self, value: int, signer: Signer | None = None) -> str:
        """A commit that says `n: value`, signed or not; the server has fetched it."""
        commit = committed(self.origin, value, signer)
        assert self.server.refresh().status_code == 200
        return commit

    def value(self, **query: str) -> object:
        return self.server.config("pay/prod", **query)["n"]

    def status(self, label: str = "") -> int:
        query = f"?label={label}" if label else ""
        return self.server.ask(f"/v1/config/pay/prod{query}").status_code

    @property
    def problem(self) -> str | None:
        part = self.server.ask("/health", token="").json()["parts"]["signatures"]
        detail: str | None = part.get("detail")
        return detail

    @property
    def told(self) -> list[dict[str, object]]:
        """What an operator is told is wrong; what somebody with a grant for one service is not told of."""
        answers = [
            self.server.ask("/v1/admin/problems", token=self.server.token(scope))
            for scope in ("config:view", "config:view:pay")
        ]
        assert answers[1].json() == {"problems": []}
        problems: list[dict[str, object]] = answers[0].json()["problems"]
        return problems

    @property
    def counted(self) -> float:
        text = self.server.ask("/metrics", token=self.server.token("config:view")).text
        (line,) = (line for line in text.splitlines() if line.startswith("config_server_labels_withheld "))
        return float(line.split()[1])


def committed(origin: OriginRepo, value: int, signer: Signer | None) -> str:
    git(origin.work, "config", "gpg.format", "ssh")
    git(origin.work, "config", "commit.gpgSign", "true" if signer else "false")
    if signer:
        git(origin.work, "config", "user.signingKey", str(signer.key))
    return origin.write({FILE: f"n: {value}\n"}, f"n is {value}")


@pytest.fixture
def guarded(tmp_path: Path, issuer: LocalIssuer) -> Iterator[Guarded]:
    origin = OriginRepo(tmp_path / "origin")
    ada, mallory = Signer(tmp_path, "ada"), Signer(tmp_path, "mallory")
    allowed = tmp_path / "allowed signers"
    allowed.write_text(ada.line)
    committed(origin, 1, ada)
    settings = {"require_signed_commits": True, "git_allowed_signers_file": allowed}
    with serving_origin(tmp_path, issuer, origin, **settings) as server:  # type: ignore[arg-type]
        yield Guarded(server, origin, ada, mallory, allowed)


def test_an_unsigned_head_is_not_served_the_last_verified_one_is_and_it_is_told(guarded: Guarded) -> None:
    assert (guarded.value(), guarded.problem) == (1, None)
    unsigned = guarded.push(2)
    assert guarded.value() == 1
    assert "1 not signed" in str(guarded.problem)
    (problem,) = guarded.told
    served = guarded.server.body("pay/prod")["version"]
    names = ("kind", "reason", "label", "commit", "version")
    assert [problem[name] for name in names] == ["unsigned", "unsigned", "main", unsigned, served]
    eventually(lambda: guarded.counted == 1)
    assert guarded.status(label=unsigned) == 404
    guarded.push(3, guarded.ada)
    eventually(lambda: (guarded.told, guarded.counted) == ([], 0))
    assert (guarded.value(), guarded.problem) == (3, None)
    assert guarded.value(label=unsigned) == 2, "a signature covers what it follows from"


def test_commits_of_a_further_repository_must_be_signed_too(tmp_path: Path, issuer: LocalIssuer) -> None:
    ada, allowed, several = Signer(tmp_path, "ada"), tmp_path / "allowed", Several(tmp_path)
    allowed.write_text(ada.line)
    main, further = OriginRepo(tmp_path / "origin"), several.add("further", {"x.yml": "n: 0\n"}, patterns=["pay"])
    committed(main, 0, ada)
    committed(further, 1, ada)
    settings = {
        "require_signed_commits": True,
        "git_allowed_signers_file": allowed,
        "repositories_file": several.file,
    }
    with serving_origin(tmp_path, issuer, main, **settings) as server:  # type: ignore[arg-type]
        server.refresh()
        assert server.config("pay/prod") == {"n": 1}
        unsigned = committed(further, 2, None)
        server.refresh()
        assert server.config("pay/prod") == {"n": 1}
        assert server.get("pay/prod", label=unsigned).status_code == 404
        assert "1 not signed" in server.ask("/health", token="").json()["parts"]["signatures"]["detail"]
        committed(further, 3, ada)
        server.refresh()
        assert server.config("pay/prod") == {"n": 3}


def test_a_signature_of_somebody_else_is_none(guarded: Guarded) -> None:
    guarded.push(2, guarded.mallory)
    assert guarded.value() == 1


def test_a_commit_whose_content_was_changed_after_it_was_signed_is_not_served(guarded: Guarded) -> None:
    head = git(guarded.origin.work, "cat-file", "commit", "HEAD")
    forged = git(
        guarded.origin.work,
        *("hash-object", "-t", "commit", "-w", "--stdin"),
        stdin=(head.replace("n is 1", "n is 9") + "\n").encode(),
    )
    git(guarded.origin.work, "push", "--quiet", "--force", "origin", f"{forged}:refs/heads/main")
    guarded.server.refresh()
    assert guarded.server.body("pay/prod")["version"] != forged
    assert guarded.problem


def test_a_signature_for_another_purpose_is_none(guarded: Guarded) -> None:
    """The allowed signers file says what for: a key that may sign files, say, signs no commits."""
    guarded.allowed.write_text(guarded.ada.line.replace('"git"', '"file"'))
    guarded.push(2, guarded.ada)
    eventually(lambda: guarded.status() == 503)
    assert guarded.problem


def test_unsigned_branches_and_tags_do_not_exist(guarded: Guarded) -> None:
    guarded.origin.tag("good")
    guarded.origin.branch("evil")
    guarded.push(6)
    guarded.origin.tag("bad")
    assert guarded.server.refresh().status_code == 200
    assert guarded.value(label="good") == 1
    assert guarded.value(label="evil") == 1, "the last verified commit of the branch"
    assert guarded.status(label="bad") == 404


def test_a_forced_push_of_something_unsigned_takes_nothing_away(guarded: Guarded) -> None:
    verified = guarded.push(2, guarded.ada)
    git(guarded.origin.work, "checkout", "--quiet", "--orphan", "other")
    committed_orphan = committed(guarded.origin, 66, None)
    git(guarded.origin.work, "push", "--quiet", "--force", "origin", f"{committed_orphan}:refs/heads/main")
    for _ in range(3):
        guarded.server.refresh()
    assert guarded.server.body("pay/prod")["version"] == verified


def test_a_signer_who_is_taken_off_the_list_signs_nothing_any_more(guarded: Guarded) -> None:
    guarded.allowed.write_text(guarded.mallory.line)
    guarded.push(2, guarded.ada)
    eventually(lambda: guarded.status() == 503)
    guarded.push(3, guarded.mallory)
    assert eventually(lambda: guarded.status() == 200 and guarded.value() == 3)


def test_without_the_list_nothing_new_is_served(guarded: Guarded) -> None:
    guarded.allowed.rename(guarded.allowed.with_name("gone"))
    committed(guarded.origin, 2, guarded.ada)
    assert guarded.server.refresh().status_code == 503
    assert guarded.value() == 1
    guarded.allowed.with_name("gone").rename(guarded.allowed)
    assert guarded.server.refresh().status_code == 200
    assert guarded.value() == 2


@pytest.mark.slow
def test_what_was_served_before_the_setting_came_is_not_served_without_a_signature(
    tmp_path: Path, issuer: LocalIssuer
) -> None:
    """Nor at the start, from what the host remembers, while Git is away."""
    origin = OriginRepo(tmp_path / "origin")
    committed(origin, 1, None)
    with serving_origin(tmp_path, issuer, origin) as server:
        assert server.config("pay/prod")["n"] == 1
    origin.bare.rename(origin.bare.with_name("away"))
    (tmp_path / "allowed").write_text(Signer(tmp_path, "ada").line)
    settings = {"require_signed_commits": True, "git_allowed_signers_file": tmp_path / "allowed"}
    with serving_origin(tmp_path, issuer, origin, patience=1, **settings) as server:  # type: ignore[arg-type]
        assert server.get("pay/prod").status_code == 503
        origin.bare.with_name("away").rename(origin.bare)
        server.server.services.hint()
        eventually(lambda: server.ask("/health", token="").json()["parts"]["signatures"]["status"] == "degraded")
        assert server.get("pay/prod").status_code == 503
