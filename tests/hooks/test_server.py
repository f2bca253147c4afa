"""Webhooks of every forge at a real server: answered at once, fetched behind, until the announced commit is there."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from devstack.issuer import LocalIssuer
from devstack.origin import git
from tests.hooks.forges import FORGES, SECRET, TOKEN, form, github, gitlab_signed, payload
from tests.serving import Serving, serving
from tests.support import eventually

#: What a forge may wait for, in seconds; most give up after ten.
PROMISED = 0.05


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, issuer: LocalIssuer) -> Iterator[Serving]:
    """It polls once a minute: what comes sooner comes by the hook."""
    with serving(tmp_path_factory.mktemp("hooks"), issuer, {"pay.yml": "n: 0\n"}, webhook_secret=SECRET) as server:
        yield server


def tell(running: Serving, body: bytes, headers: dict[str, str], kind: str = "application/json") -> httpx.Response:
    headers = {**headers, "Content-Type": kind}
    return running.ask("/hooks/git", method="POST", token="", content=body, headers=headers)


def fetches(running: Serving) -> float:
    text = running.ask("/metrics", token=running.token("config:view")).text
    found = [line for line in text.splitlines() if line.startswith("config_server_git_fetches_total{")]
    return sum(float(line.split()[-1]) for line in found)


def hints(running: Serving) -> int:
    """Grows with each fetch that is asked for, whenever that is done."""
    return running.server.services.hints.last()


def commit_unpushed(running: Serving, text: str) -> str:
    """A commit that the forge speaks of before it serves it."""
    (running.origin.work / "pay.yml").write_text(text)
    git(running.origin.work, "commit", "--quiet", "--all", "-m", "a change")
    return running.origin.head


@pytest.mark.parametrize("forge", FORGES)
def test_a_push_of_each_forge_is_fetched(running: Serving, forge: str) -> None:
    name, sign = FORGES[forge]
    before = running.origin.head
    commit = running.origin.write({"pay.yml": f"forge: {forge}\n"})
    body = payload(name, before=before, after=commit)

    answer = tell(running, body, sign(body))

    assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})
    eventually(lambda: running.body("pay/prod")["version"] == commit)


def test_github_may_send_a_form(running: Serving) -> None:
    before = running.origin.head
    commit = running.origin.write({"pay.yml": "by: form\n"})
    body = form(payload("github", before=before, after=commit))
    assert tell(running, body, github(body), "application/x-www-form-urlencoded").status_code == 202
    eventually(lambda: running.body("pay/prod")["version"] == commit)


def test_gitlab_may_sign_with_a_token(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: 0\n"}, webhook_secret=TOKEN) as running:
        before = running.origin.head
        commit = running.origin.write({"pay.yml": "n: 1\n"})
        body = payload("gitlab", before=before, after=commit)
        assert tell(running, body, gitlab_signed(body, at=time.time() - 400)).status_code == 401
        assert tell(running, body, gitlab_signed(body)).status_code == 202
        eventually(lambda: running.body("pay/prod")["version"] == commit)


def test_a_commit_that_is_told_of_before_it_is_served_is_fetched_until_it_is_there(running: Serving) -> None:
    before = running.origin.head
    commit = commit_unpushed(running, "n: late\n")
    body = payload("github", before=before, after=commit)
    known = fetches(running)

    tell(running, body, github(body))
    eventually(lambda: fetches(running) > known)  # in vain
    running.origin.push()

    eventually(lambda: running.body("pay/prod")["version"] == commit, timeout=30)


def test_another_push_meanwhile_does_not_end_the_search(running: Serving) -> None:
    before = running.origin.head
    commit = commit_unpushed(running, "n: later\n")
    git(running.origin.work, "branch", "--force", "other", before)
    body = payload("gitea", before=before, after=commit)
    tell(running, body, FORGES["gitea"][1](body))
    git(running.origin.work, "push", "--quiet", "origin", "other")
    eventually(lambda: running.get("pay/prod", label="other").status_code == 200, timeout=30)
    running.origin.push()
    eventually(lambda: running.body("pay/prod")["version"] == commit, timeout=30)


def test_a_replayed_word_does_nothing(running: Serving) -> None:
    commit = running.origin.head
    body = payload("github", before="b" * 40, after=commit)
    before, asked = fetches(running), hints(running)
    assert tell(running, body, github(body)).json() == {"status": "accepted"}
    eventually(lambda: hints(running) > asked)
    eventually(lambda: fetches(running) > before)
    known = hints(running)
    for _ in range(20):
        assert tell(running, body, github(body)).json() == {"status": "repeated"}
    assert hints(running) == known


@pytest.mark.parametrize(
    "headers", [{"X-GitHub-Event": "ping"}, {"X-Gitlab-Event": "Note Hook"}, {"X-Event-Key": "diagnostics:ping"}]
)
def test_what_is_no_push_is_answered_and_fetches_nothing(running: Serving, headers: dict[str, str]) -> None:
    body = b'{"hook_id":7}'
    known = hints(running)
    answer = tell(running, body, {**github(body), **headers, "X-GitHub-Event": headers.get("X-GitHub-Event", "ping")})
    assert (answer.status_code, answer.json()) == (202, {"status": "ignored"})
    assert hints(running) == known


def test_a_thousand_dashes_and_a_document_of_a_mebibyte_are_bounded_work(running: Serving) -> None:
    for body in (b"-" * (1 << 20), b"[" * (1 << 20), b'{"changes":[' + b"{}," * 340_000 + b"{}]}"):
        assert tell(running, body, github(body)).status_code == 202
        assert tell(running, body, {}).status_code == 401
    boundary = "multipart/form-data; boundary=" + "-" * 1000
    assert tell(running, b"--" + b"-" * 100_000, {}, boundary).status_code == 401
    assert tell(running, b"x" * ((1 << 20) + 1), github(b"")).status_code == 413


@pytest.mark.slow
def test_the_answer_does_not_wait_for_the_fetch(
    tmp_path: Path, issuer: LocalIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A remote that does not answer for a while: `git fetch` hangs as long as a file is there."""
    hang, entered, folder = tmp_path / "hang", tmp_path / "entered", tmp_path / "bin"
    folder.mkdir()
    script = f'while [ -e {hang} ] && [ "$1" = fetch -o "$1" = ls-remote ]; do touch {entered}; sleep 0.05; done'
    (folder / "git").write_text(f'#!/bin/sh\n{script}\nPATH=${{PATH#*:}}; export PATH\nexec git "$@"\n')
    (folder / "git").chmod(0o700)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    with serving(tmp_path, issuer, {"pay.yml": "n: 0\n"}, webhook_secret=SECRET) as running:
        before = running.origin.head
        commit = running.origin.write({"pay.yml": "n: 1\n"})
        hang.touch()
        took, beside = [], []
        for number in range(20):
            body = payload("github", before=before, after=commit) + b" " * number
            began = time.perf_counter()
            assert tell(running, body, github(body)).status_code == 202
            took.append(time.perf_counter() - began)
            began = time.perf_counter()
            assert running.ask("/health/live", token="").status_code == 200
            beside.append(time.perf_counter() - began)
            if number == 0:
                eventually(entered.exists)
        assert running.body("pay/prod")["config"] == {"n": 0}
        # On a busy machine an answer about nothing takes its time too.
        assert statistics.median(took) < max(PROMISED, 10 * statistics.median(beside)), (took, beside)
        hang.unlink()
        eventually(lambda: running.body("pay/prod")["version"] == commit, timeout=30)
