"""Logging in to a real Git server: by password file over HTTPS, and by key with known hosts over SSH."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import RepositoryUnavailable
from app.repository import Author, GitCredentials, GitWriter, NewFile
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from tests.repository.conftest import MakeBackend
from tests.repository.git_https import GitHttps, git_https
from tests.repository.git_ssh import GitSsh, git_ssh, new_key
from tests.serving import serving_origin

SECRET = "t0ken %$'\" of the robot"


@pytest.fixture
def https(origin: OriginRepo, tmp_path: Path) -> Iterator[GitHttps]:
    origin.write({"pay.yml": "n: 1\n"})
    with git_https(origin.bare.parent, tmp_path, {"robot": SECRET}) as server:
        yield server


@pytest.fixture
def ssh(origin: OriginRepo, tmp_path: Path) -> Iterator[GitSsh]:
    origin.write({"pay.yml": "n: 1\n"})
    with git_ssh(origin.bare, tmp_path) as server:
        yield server


@pytest.fixture
def login(tmp_path: Path, https: GitHttps) -> GitCredentials:
    (tmp_path / "password").write_text(f"{SECRET}\n")
    return GitCredentials(username="robot", password_file=tmp_path / "password", ca_file=https.ca_file)


def by_key(ssh: GitSsh, **other: Path) -> GitCredentials:
    return replace(GitCredentials(ssh_key_file=ssh.key, known_hosts_file=ssh.known_hosts), **other)  # type: ignore[arg-type]


def push(url: str, credentials: GitCredentials, tmp_path: Path, parent: str) -> str:
    writer = GitWriter(url, tmp_path / "mirror", tmp_path / "drafts", credentials=credentials, timeout=60)
    with writer.drafted(parent, {"pay.yml": NewFile(b"n: 2\n")}, author=Author("ada", ""), message="m") as draft:
        writer.push(draft, "main")
        return draft.commit


def test_https_takes_the_password_of_the_file_and_a_rotated_one_without_a_restart(
    tmp_path: Path, origin: OriginRepo, make_backend: MakeBackend, https: GitHttps, login: GitCredentials
) -> None:
    backend = make_backend(https.url, credentials=login)
    assert backend.fetch().branches == {"main": origin.head}
    assert origin.head != push(https.url, login, tmp_path, origin.head) == origin.pushed()

    https.passwords["robot"] = "rotated"
    with pytest.raises(RepositoryUnavailable, match="refuses the login") as refused:
        backend.fetch()
    told = "".join(traceback.format_exception(refused.value))
    assert all(secret not in told for secret in (SECRET, "robot", str(https.port)))
    assert login.password_file
    login.password_file.write_text("rotated\r\n")
    assert backend.fetch().branches == {"main": origin.pushed()}
    leaked = [each for each in (tmp_path / "mirror").rglob("*") if each.is_file() and b"rotated" in each.read_bytes()]
    assert leaked == []


def test_a_certificate_that_nobody_vouches_for_gets_no_password(
    make_backend: MakeBackend, https: GitHttps, login: GitCredentials
) -> None:
    stranger = GitCredentials(username="robot", password_file=login.password_file)
    with pytest.raises(RepositoryUnavailable, match="certificate"):
        make_backend(https.url, credentials=stranger).fetch()
    assert https.logins == []


def test_ssh_takes_the_key_and_the_known_host(
    tmp_path: Path, origin: OriginRepo, make_backend: MakeBackend, ssh: GitSsh
) -> None:
    assert make_backend(ssh.url, credentials=by_key(ssh)).fetch().branches == {"main": origin.head}
    assert origin.head != push(ssh.url, by_key(ssh), tmp_path, origin.head) == origin.pushed()


def test_ssh_refuses_a_host_whose_key_is_not_the_known_one(
    tmp_path: Path, make_backend: MakeBackend, ssh: GitSsh
) -> None:
    """Somebody in between has another key, and learns nothing: the client's key is not even offered."""
    other = tmp_path / "other hosts"
    other.write_text(f"[127.0.0.1]:{ssh.port} {new_key(tmp_path / 'another').with_suffix('.pub').read_text()}")
    for hosts in (other, tmp_path / "no file"):
        with pytest.raises(RepositoryUnavailable, match="host key"):
            make_backend(ssh.url, credentials=by_key(ssh, known_hosts_file=hosts)).fetch()
    assert "Accepted" not in ssh.log.read_text()


def test_ssh_with_a_key_that_is_not_let_in_is_a_refused_login(
    tmp_path: Path, make_backend: MakeBackend, ssh: GitSsh
) -> None:
    with pytest.raises(RepositoryUnavailable, match="refuses the login"):
        make_backend(ssh.url, credentials=by_key(ssh, ssh_key_file=new_key(tmp_path / "stranger"))).fetch()


def test_a_server_follows_a_repository_over_ssh(
    tmp_path: Path, issuer: LocalIssuer, origin: OriginRepo, ssh: GitSsh
) -> None:
    settings = {"git_ssh_key_file": ssh.key, "git_known_hosts_file": ssh.known_hosts}
    (tmp_path / "server").mkdir()
    remote = OriginRepo.opened(origin.bare.parent)
    with serving_origin(tmp_path / "server", issuer, remote, repo_url=ssh.url, **settings) as server:  # type: ignore[arg-type]
        assert server.config("pay/prod") == {"n": 1}
        server.push({"pay.yml": "n: 2\n"})
        assert server.config("pay/prod") == {"n": 2}
