"""A server that dies in the middle of a change: the origin is whole, and the trail finds out how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.audit import verify_directory
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo, git
from devstack.server import Server
from tests.changes.conftest import FILES, by_key
from tests.support import eventually, whole_lines


class Site:
    """One worker of gunicorn over an origin; `begin` sends a change whose answer nobody will get."""

    def __init__(self, directory: Path, issuer: LocalIssuer, application: str) -> None:
        self.origin = OriginRepo(directory / "origin")
        self.origin.write(FILES)
        settings = {
            "REPO_URL": self.origin.url,
            "JWT_ISSUER": issuer.url,
            "JWT_AUDIENCE": issuer.audience,
            "JWT_JWKS_URL": issuer.jwks_url,
            "ENVS": "prod,dev",
            "GIT_WRITE": "true",
            "WORKERS": "1",
            "POLL_SECONDS": "0.3",
        }
        self.server = Server(directory / "host", settings, application=application)
        self.data = directory / "host" / "data"
        self._token = issuer.token(sub="ada", scope="config:write")

    def change(self) -> httpx.Response:
        edit = by_key("pay.yml", db__pool=77)
        body = {"base": self.origin.pushed(), "message": "a change", "edits": [edit]}
        headers = {"Authorization": f"Bearer {self._token}"}
        url = f"{self.server.url}/v1/admin/changes"
        return httpx.post(url, json=body, headers=headers, timeout=60, trust_env=False)

    def begin(self) -> threading.Thread:
        def change() -> None:
            with contextlib.suppress(httpx.TransportError):
                self.change()

        thread = threading.Thread(target=change)
        thread.start()
        return thread

    def records(self) -> list[dict[str, Any]]:
        lines = whole_lines(self.data / "audit" / "worker-0.jsonl")
        return [each for each in map(json.loads, lines) if each["action"].startswith("config.change")]

    def settled(self) -> dict[str, Any]:
        """The record of how the broken change ended, once a fetch has found out."""
        found: list[dict[str, Any]] = eventually(lambda: self.records()[1:], timeout=40)
        return found[0]


@pytest.fixture
def site(tmp_path: Path, issuer: LocalIssuer) -> Iterator[Site]:
    """Of a server that waits for a push that was broken off as long as the test needs."""
    made = Site(tmp_path, issuer, "wsgi:app")
    yield made
    made.server.close()


@pytest.fixture
def hasty_site(tmp_path: Path, issuer: LocalIssuer) -> Iterator[Site]:
    """Of a server that soon gives up such a push."""
    made = Site(tmp_path, issuer, "tests.changes.brisk_app:app")
    yield made
    made.server.close()


def kill_worker(site: Site, sender: threading.Thread) -> None:
    victim = site.server.kill_worker()
    sender.join(timeout=40)
    eventually(lambda: site.server.workers and victim not in site.server.workers, timeout=40)


def check_whole(site: Site) -> None:
    git(site.origin.bare, "fsck", "--strict")
    eventually(lambda: not list((site.data / "intents").glob("*")))
    eventually(lambda: all(verdict.intact for verdict in verify_directory(site.data / "audit").values()))
    # and it goes on
    ready = f"{site.server.url}/health/ready"
    eventually(lambda: httpx.get(ready, trust_env=False, timeout=60).status_code == 200, timeout=40)


@pytest.mark.slow
def test_killed_between_commit_and_push_leaves_the_origin_as_it_was(
    hasty_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = hasty_site
    before, entered = site.origin.pushed(), tmp_path / "entered"
    folder = tmp_path / "bin"
    folder.mkdir()
    script = f'if [ "$1" = push ] && [ ! -e {entered} ]; then echo $$ > {entered}; exec sleep 60; fi'
    (folder / "git").write_text(f'#!/bin/sh\n{script}\nPATH=${{PATH#*:}}; export PATH\nexec git "$@"\n')
    (folder / "git").chmod(0o700)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    site.server.start()

    sender = site.begin()
    orphan = int(eventually(lambda: entered.exists() and entered.read_text().strip(), timeout=40))
    kill_worker(site, sender)
    os.kill(orphan, signal.SIGKILL)

    record = site.settled()
    assert site.records()[0]["action"] == "config.change.begun"
    assert (record["action"], record["outcome"]) == ("config.change", "failed")
    assert record["detail"].endswith("the branch does not have it")
    assert record["version"] == site.records()[0]["version"]
    assert site.origin.pushed() == before
    check_whole(site)
    assert site.change().status_code == 200
    assert "pool: 77" in site.origin.read("pay.yml")


@pytest.mark.slow
@pytest.mark.parametrize("hook", ["pre-receive", "post-receive"])
def test_killed_while_the_push_is_under_way_the_trail_tells_that_it_arrived(
    site: Site, tmp_path: Path, hook: str
) -> None:
    entered, go = tmp_path / "entered", tmp_path / "go"
    site.origin.hook(hook, f"touch {entered}; while [ ! -e {go} ]; do sleep 0.05; done")
    site.server.start()
    before = site.origin.pushed()

    sender = site.begin()
    eventually(entered.exists, timeout=40)
    kill_worker(site, sender)
    assert (site.origin.pushed() == before) == (hook == "pre-receive")
    go.touch()  # what Git had begun goes on without us

    record = site.settled()
    assert (record["outcome"], record["version"]) == ("allowed", site.origin.pushed())
    assert record["detail"].endswith("the branch has it")
    assert git(site.origin.bare, "rev-parse", "main^") == before
    check_whole(site)
