"""A repository that only a proxy can reach, at a host whose certificate is of an authority of its own."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import RepositoryUnavailable
from app.repository import GitCredentials
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from tests.proxy.certificate import NAME
from tests.repository.conftest import MakeBackend
from tests.repository.forward_proxy import ForwardProxy, forward_proxy
from tests.repository.git_https import GitHttps, git_https
from tests.serving import serving_origin

URL = f"https://{NAME}/origin.git"  # no resolver knows the name


@pytest.fixture
def https(origin: OriginRepo, tmp_path: Path) -> Iterator[GitHttps]:
    origin.write({"pay.yml": "n: 1\n"})
    with git_https(origin.bare.parent, tmp_path, {"robot": "secret"}) as server:
        yield server


@pytest.fixture
def proxy(https: GitHttps, monkeypatch: pytest.MonkeyPatch) -> Iterator[ForwardProxy]:
    with forward_proxy({f"{NAME}:443": https.port}) as running:
        monkeypatch.setenv("HTTPS_PROXY", running.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield running


def test_a_server_follows_a_repository_and_changes_it_through_the_proxy(
    tmp_path: Path, issuer: LocalIssuer, origin: OriginRepo, https: GitHttps, proxy: ForwardProxy
) -> None:
    (tmp_path / "password").write_text("secret\n")
    login = {"git_username": "robot", "git_password_file": tmp_path / "password", "git_ca_file": https.ca_file}
    remote = OriginRepo.opened(origin.bare.parent)
    (tmp_path / "server").mkdir()
    with serving_origin(tmp_path / "server", issuer, remote, repo_url=URL, git_write=True, **login) as server:  # type: ignore[arg-type]
        assert server.config("pay/prod") == {"n": 1}
        base = server.push({"pay.yml": "n: 2\n"})
        assert server.config("pay/prod") == {"n": 2}
        body = {"message": "three", "base": base, "edits": [{"file": "pay.yml", "set": {"n": 3}}]}
        done = server.ask("/v1/admin/changes", method="POST", token=server.token("config:write"), json=body)
        assert done.status_code in (200, 201), done.text
        assert server.config("pay/prod") == {"n": 3}
    assert set(proxy.asked) == {f"CONNECT {NAME}:443"}
    assert set(https.logins) == {"robot:secret"}


def test_a_proxy_that_refuses_is_told_and_neither_its_name_nor_its_login_are(
    make_backend: MakeBackend, https: GitHttps, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make_backend(URL, credentials=GitCredentials(ca_file=https.ca_file))
    monkeypatch.setenv("HTTPS_PROXY", f"http://proxy-user:wrong-pass@127.0.0.1:{proxy.port}")
    with pytest.raises(RepositoryUnavailable, match="the proxy refuses") as refused:
        backend.fetch()
    told = "".join(traceback.format_exception(refused.value))
    assert all(secret not in told for secret in ("wrong-pass", "proxy-user", str(proxy.port), NAME))
    assert proxy.asked


def test_what_is_excepted_is_asked_past_the_proxy(
    origin: OriginRepo, make_backend: MakeBackend, https: GitHttps, proxy: ForwardProxy, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("secret\n")
    login = GitCredentials(username="robot", password_file=tmp_path / "password", ca_file=https.ca_file)
    assert make_backend(https.url, credentials=login).fetch().branches == {"main": origin.head}
    assert proxy.asked == []
