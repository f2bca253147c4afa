"""Who signed the commits of a history, by real keys."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack.issuer import LocalIssuer
from devstack.origin import git
from tests.serving import VIEW_ALL, Serving, serving

SIGNERS = "ada@example.org {key}\n"


class Signing:
    """A server that knows Ada's key, and the origin that Ada and Eve push to."""

    def __init__(self, running: Serving, keys: dict[str, Path], signers: Path) -> None:
        self.running, self.keys, self.signers = running, keys, signers

    def commit(self, text: str, *, key: str) -> str:
        work = self.running.origin.work
        (work / "pay.yml").write_text(text)
        signing = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={self.keys[key]}"]
        git(work, *signing, "commit", "--quiet", "--all", "-S", "-m", f"by {key}")
        return self.running.origin.push()

    def altered(self, commit: str, old: bytes, new: bytes) -> str:
        """A commit that says something else under the same signature."""
        work = self.running.origin.work
        content = subprocess.run(["git", "cat-file", "commit", commit], cwd=work, capture_output=True, check=True)
        changed = git(work, "hash-object", "-t", "commit", "-w", "--stdin", stdin=content.stdout.replace(old, new))
        git(work, "reset", "--quiet", "--hard", changed)
        return self.running.origin.push()

    def newest(self) -> dict[str, Any]:
        self.running.refresh()
        token = self.running.token(VIEW_ALL)
        answer = self.running.ask("/v1/history/pay/prod?limit=1", token=token)
        assert answer.status_code == 200, answer.text
        revision: dict[str, Any] = answer.json()["revisions"][0]
        return {name: revision.get(name) for name in ("commit", "signature", "signer")}


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Signing]:
    directory = tmp_path_factory.mktemp("signing")
    keys = {name: directory / name for name in ("ada", "eve")}
    for key in keys.values():
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)]
        subprocess.run(command, check=True)
    signers = directory / "signers"
    signers.write_text(SIGNERS.format(key=keys["ada"].with_suffix(".pub").read_text().strip()))
    files = {"pay.yml": "n: 0\n"}
    with serving(directory, issuer, files, git_allowed_signers_file=signers) as running:
        yield Signing(running, keys, signers)


def test_a_commit_without_a_signature_is_told_as_such(signing: Signing) -> None:
    commit = signing.running.origin.write({"pay.yml": "n: unsigned\n"})
    assert signing.newest() == {"commit": commit, "signature": "N", "signer": None}


def test_a_good_signature_names_its_signer(signing: Signing) -> None:
    commit = signing.commit("n: good\n", key="ada")
    assert signing.newest() == {"commit": commit, "signature": "G", "signer": "ada@example.org"}


def test_a_key_that_nobody_knows_is_no_signer(signing: Signing) -> None:
    commit = signing.commit("n: eve\n", key="eve")
    assert signing.newest() == {"commit": commit, "signature": "U", "signer": None}


def test_a_signature_of_something_else_is_bad(signing: Signing) -> None:
    commit = signing.altered(signing.commit("n: altered\n", key="ada"), b"by ada", b"by Ada")
    assert signing.newest() == {"commit": commit, "signature": "B", "signer": None}


def test_a_signature_of_another_kind_cannot_be_checked_and_runs_nothing(signing: Signing) -> None:
    signed = signing.commit("n: pgp\n", key="ada")
    commit = signing.altered(signed, b"SSH SIGNATURE", b"PGP SIGNATURE")
    assert signing.newest() == {"commit": commit, "signature": "E", "signer": None}


def test_who_is_taken_off_the_list_signs_no_more(signing: Signing) -> None:
    commit = signing.commit("n: last\n", key="ada")
    assert signing.newest()["signature"] == "G"
    known = signing.signers.read_text()
    signing.signers.write_text("# nobody\n")
    assert signing.newest() == {"commit": commit, "signature": "U", "signer": None}
    signing.signers.unlink()
    assert signing.newest() == {"commit": commit, "signature": "E", "signer": None}
    signing.signers.write_text(known)
    assert signing.newest()["signature"] == "G"


def test_without_a_list_of_signers_nothing_is_said(signing: Signing, tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: 0\n"}) as running:
        other = Signing(running, signing.keys, signing.signers)
        commit = other.commit("n: signed\n", key="ada")
        assert other.newest() == {"commit": commit, "signature": None, "signer": None}
