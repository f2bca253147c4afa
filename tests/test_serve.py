"""`python -m app serve`, as somebody with a laptop runs it: a process of its own, and nothing set."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from app.development import is_loopback
from app.errors import RepositoryUnavailable
from app.repository import Snapshots, snapshots
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo, git
from tests.support import contents, eventually

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Served:
    """A server that has said that it is ready, and what it has written."""

    process: subprocess.Popen[str]
    said: str
    url: str

    @property
    def token(self) -> str:
        match = re.search(r"TOKEN=(\S+)", self.said)
        assert match
        return match[1]

    def get(self, path: str, token: str | None = None) -> httpx.Response:
        bearer = {"Authorization": f"Bearer {token or self.token}"}
        return httpx.get(self.url + path, headers=bearer, trust_env=False, timeout=30)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "app", "serve", *arguments]


def environment(home: Path, **settings: str) -> dict[str, str]:
    """That of a user who has set nothing but `settings`."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("CONFIG_SERVER_")}
    given = {f"CONFIG_SERVER_{name}": value for name, value in settings.items()}
    return env | given | {"XDG_STATE_HOME": str(home)}


def refused(*arguments: str, home: Path) -> str:
    """What a server says that does not start."""
    env = environment(home)
    done = subprocess.run(command(*arguments), cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (1, "", False)
    return done.stderr


@contextmanager
def served(repo: Path, home: Path, **settings: str) -> Iterator[Served]:
    """`serve --repo`; ended by Ctrl-C, and it must end well."""
    arguments = command("--repo", str(repo), "--bind", "127.0.0.1:0")
    with subprocess.Popen(
        arguments,
        cwd=ROOT,
        env=environment(home, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            said = process.stdout.readline()
            url = re.search(r"http://127\.0\.0\.1:\d+", said)
            assert url, said + process.stderr.read()
            if not settings:
                while "curl" not in said:
                    said += process.stdout.readline()
            yield Served(process, said, url[0])
            process.send_signal(signal.SIGINT)
            assert (process.stdout.read().strip(), process.stderr.read(), process.wait(60)) == ("Ended.", "", 0)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folder")
    (folder / "application.yml").write_text("pool: 10\n")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def server(folder: Path, home: Path) -> Iterator[Served]:
    with served(folder, home) as running:
        yield running


@pytest.mark.slow
def test_the_first_read_of_a_folder_is_answered_after_two_seconds_of_work_and_no_waiting(
    folder: Path, tmp_path: Path
) -> None:
    """From the start of the process. Two seconds of the processor, as other tests stretch those of the clock; by the
    clock it is held against the import of the server just before, which they stretch as well. The best of some tries,
    as they do not stretch both alike."""
    works, ratios = [], []
    for number in range(4):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "import app.embedded"], cwd=ROOT, check=True)
        imported = time.monotonic() - began
        with served(folder, tmp_path / str(number)) as running:
            assert running.get("/v1/config/pay/dev").json()["config"] == {"pool": 10}
            ratios.append((time.monotonic() - began - imported) / imported)
            works.append(sum(psutil.Process(running.process.pid).cpu_times()[:4]))
        if min(works) < 2 and min(ratios) < 2:
            break
    assert min(works) < 2
    assert min(ratios) < 2


@pytest.mark.slow
def test_a_file_that_is_saved_is_served(server: Served, folder: Path) -> None:
    (folder / "pay.properties").write_text("name = before\n")
    eventually(lambda: server.get("/v1/config/pay/dev").json()["config"] == {"pool": 10, "name": "before"}, timeout=60)
    (folder / "pay.properties").unlink()
    eventually(lambda: server.get("/v1/config/pay/dev").json()["config"] == {"pool": 10}, timeout=60)


@pytest.mark.slow
def test_the_token_of_development_ends_with_the_server(server: Served, folder: Path, tmp_path: Path) -> None:
    with served(folder, tmp_path) as another:
        assert another.get("/v1/config/pay/dev").status_code == 200
        assert server.get("/v1/config/pay/dev", token=another.token).status_code == 401


@pytest.mark.slow
def test_what_is_kept_is_for_the_user_alone(server: Served, home: Path) -> None:
    (kept,) = (home / "config-server").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o700
    assert not [text for text in contents(kept).values() if server.token.encode() in text]


@pytest.mark.slow
def test_two_servers_do_not_share_what_they_keep(server: Served, folder: Path, home: Path) -> None:
    assert "another server is using" in refused("--repo", str(folder), "--bind", "127.0.0.1:0", home=home)


@pytest.mark.slow
def test_an_address_that_is_taken_is_told(server: Served, folder: Path, tmp_path: Path) -> None:
    bind = server.url.removeprefix("http://")
    assert "Address already in use" in refused("--repo", str(folder), "--bind", bind, home=tmp_path)


@pytest.mark.slow
def test_a_repository_is_served_as_it_was_committed_and_an_issuer_makes_the_tokens(
    tmp_path: Path, issuer: LocalIssuer
) -> None:
    origin = OriginRepo(tmp_path / "origin")
    origin.write({"application.yml": "pool: 1\n"})
    (origin.work / "application.yml").write_text("pool: 2\n")
    names = {"JWT_ISSUER": issuer.url, "JWT_AUDIENCE": issuer.audience, "JWT_JWKS_URL": issuer.jwks_url}
    with served(origin.work, tmp_path / "state", **names) as running:
        path, token = "/v1/config/pay/dev", issuer.token(scope="config:read:*/*")
        assert running.get(path, token).json()["config"] == {"pool": 1}
        git(origin.work, "commit", "--quiet", "--all", "-m", "more")
        eventually(lambda: running.get(path, token).json()["config"] == {"pool": 2}, timeout=60)
        assert "TOKEN" not in running.said


def test_a_token_of_development_is_for_this_machine_only(folder: Path, tmp_path: Path) -> None:
    said = refused("--repo", str(folder), "--bind", "0.0.0.0:0", home=tmp_path)
    assert ("TOKEN=" in said, "can be reached from other machines" in said) == (False, True)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "there is no such folder" in refused("--repo", str(tmp_path / "none"), home=tmp_path)


@pytest.mark.parametrize("bind", ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "localhost:1"])
def test_loopback_is_this_machine(bind: str) -> None:
    assert is_loopback(bind)


@pytest.mark.parametrize("bind", ["0.0.0.0:1", "[::]:1", ":1", "192.0.2.1:1", "127.0.0.1.invalid:1"])
def test_any_other_address_may_be_reached_from_elsewhere(bind: str) -> None:
    assert not is_loopback(bind)


def test_a_snapshot_is_taken_when_something_has_changed_and_leaves_repositories_inside_out(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    taken = Snapshots(folder, tmp_path / "folder.git")
    assert (taken.take(), taken.take()) == (True, False)  # empty, and yet something to serve
    (folder / "sub" / "a b.yml").write_text("a: 1\r\n")
    (folder / ".gitignore").write_text("*.bak\n")
    (folder / "old.bak").write_text("")
    assert (taken.take(), taken.take()) == (True, False)
    assert git(taken.path, "ls-tree", "-r", "--name-only", "HEAD").split("\n") == [".gitignore", "sub/a b.yml"]
    assert git(taken.path, "cat-file", "-s", "HEAD:sub/a b.yml") == "6"


def test_a_home_directory_is_not_taken_for_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(snapshots.MOST_FILES + 1):
        (folder / str(number)).touch()
    with pytest.raises(RepositoryUnavailable, match="more than"):
        Snapshots(folder, tmp_path / "folder.git").take()
    assert not (tmp_path / "folder.git").exists()
