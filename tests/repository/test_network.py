"""Remotes that hang, ask for a login, or lead elsewhere; and what must never be told of them."""

from __future__ import annotations

import time
import traceback
from pathlib import Path

import pytest

from app.errors import RepositoryUnavailable
from app.repository import GitCredentials
from devstack.origin import OriginRepo
from tests.repository.conftest import MakeBackend
from tests.repository.processes import working_for
from tests.repository.servers import http_server, refusing_port, silent_server
from tests.support import eventually

SECRET = "s3cret-p4ssword"


@pytest.fixture
def credentials(tmp_path: Path) -> GitCredentials:
    file = tmp_path / "pass word's"
    file.write_text(f"{SECRET}\n")
    return GitCredentials(username="robot", password_file=file)


@pytest.mark.parametrize("scheme", ["git", "http", "ssh"])
def test_hanging_remote_is_killed_at_the_timeout_and_leaves_no_process(
    tmp_path: Path, make_backend: MakeBackend, scheme: str
) -> None:
    with silent_server() as port:
        backend = make_backend(f"{scheme}://127.0.0.1:{port}/x", timeout=0.5)
        started = time.monotonic()
        with pytest.raises(RepositoryUnavailable) as caught:
            backend.fetch()
        assert time.monotonic() - started < 20  # it would hang for ever
        eventually(lambda: working_for(tmp_path / "mirror") == [])
    assert "127.0.0.1" not in str(caught.value)
    assert not (tmp_path / "mirror" / "process").exists()


def test_hanging_remote_leaves_the_mirror_as_it_is(
    tmp_path: Path, origin: OriginRepo, make_backend: MakeBackend
) -> None:
    commit = origin.write({"a": "1"})
    make_backend(origin.url).fetch()
    with silent_server() as port:
        backend = make_backend(f"git://127.0.0.1:{port}/x", timeout=0.3)
        for _ in range(2):
            with pytest.raises(RepositoryUnavailable, match=r"within 0\.3 s"):
                backend.fetch()
        assert make_backend(origin.url).refs().branches == {"main": commit}


def test_remote_that_refuses_the_connection_is_told_so(make_backend: MakeBackend) -> None:
    with refusing_port() as port, pytest.raises(RepositoryUnavailable, match="refuses the connection"):
        make_backend(f"git://127.0.0.1:{port}/x").fetch()


def test_password_is_read_at_each_use_and_shown_nowhere(
    tmp_path: Path, make_backend: MakeBackend, credentials: GitCredentials
) -> None:
    with http_server() as asked:
        backend = make_backend(f"http://127.0.0.1:{asked.port}/x?token=t0ken", credentials=credentials)
        assert credentials.password_file
        for password in (SECRET, "rotated%$'\" ü"):
            credentials.password_file.write_text(f"{password}\r\n")
            with pytest.raises(RepositoryUnavailable, match="refuses the login") as caught:
                backend.fetch()
            assert asked.logins[-1] == f"robot:{password}"
            told = "".join(traceback.format_exception(caught.value))
            for secret in (password, "t0ken", str(asked.port), str(credentials.password_file)):
                assert secret not in told
    assert not [file for file in (tmp_path / "mirror").rglob("*") if file.is_file() and SECRET in file.read_text()]


def test_user_of_the_url_is_used_when_the_settings_name_none(
    make_backend: MakeBackend, credentials: GitCredentials
) -> None:
    only_password = GitCredentials(password_file=credentials.password_file)
    with http_server() as asked:
        for url, user in ((f"http://ada@127.0.0.1:{asked.port}/x", "ada"), (f"http://127.0.0.1:{asked.port}/x", "git")):
            with pytest.raises(RepositoryUnavailable):
                make_backend(url, credentials=only_password).fetch()
            assert asked.logins[-1] == f"{user}:{SECRET}"


def test_remote_that_asks_for_a_login_nobody_gave_is_told_so(make_backend: MakeBackend) -> None:
    with http_server() as asked, pytest.raises(RepositoryUnavailable, match="asks for a login"):
        make_backend(f"http://127.0.0.1:{asked.port}/x").fetch()


def test_password_does_not_follow_a_redirect_to_another_host(
    make_backend: MakeBackend, credentials: GitCredentials
) -> None:
    with http_server() as elsewhere, http_server(redirect_to=elsewhere.port) as asked:
        with pytest.raises(RepositoryUnavailable):
            make_backend(f"http://127.0.0.1:{asked.port}/x", credentials=credentials).fetch()
        assert elsewhere.logins == []


def test_password_file_that_is_missing_is_a_missing_login(make_backend: MakeBackend, tmp_path: Path) -> None:
    credentials = GitCredentials(username="robot", password_file=tmp_path / "absent")
    with http_server() as asked, pytest.raises(RepositoryUnavailable, match="asks for a login"):
        make_backend(f"http://127.0.0.1:{asked.port}/x", credentials=credentials).fetch()
