"""Search paths with `*`: what a folder that comes, changes or goes does to those who read and follow."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from devstack.issuer import LocalIssuer
from tests.serving import VIEW_ALL, Serving, serving
from tests.support import eventually


def _plan(running: Serving, edits: list[dict[str, Any]]) -> list[str]:
    token = running.token(f"{VIEW_ALL} config:write")
    answer = running.ask("/v1/admin/plan", method="POST", token=token, json={"edits": edits})
    assert answer.status_code == 200, answer.text
    return [each["service"] for each in answer.json()["targets"]]


def test_a_folder_that_comes_is_read_told_and_remembered(tmp_path: Path, issuer: LocalIssuer) -> None:
    files = {"pay.yml": "a: 1\n", "teams/one/pay.yml": "b: 1\n"}
    paths = ("", "teams/*")
    with serving(tmp_path, issuer, files, search_paths=paths, envs=("prod",)) as running, ThreadPoolExecutor() as pool:
        assert running.config("pay/prod") == {"a": 1, "b": 1}
        first = running.get("pay/prod")
        headers = {"If-None-Match": first.headers["ETag"]}
        poll = pool.submit(running.get, "pay/prod", headers=headers, wait=50)
        eventually(lambda: len(running.server.services.notifier))
        came = running.push({"teams/two/pay.yml": "b: 2\n"}, "came")
        assert poll.result(timeout=40).json()["config"] == {"a": 1, "b": 2}

        changed = running.push({"teams/one/pay.yml": "b: 3\nc: 3\n"}, "changed")
        assert running.config("pay/prod") == {"a": 1, "b": 2, "c": 3}
        running.push({"teams/two/deeper/pay.yml": "b: 4\n", "teams/.x/pay.yml": "b: 5\n"})
        assert running.config("pay/prod") == {"a": 1, "b": 2, "c": 3}
        assert running.get("pay/prod/x.txt").status_code == 404
        running.push({"teams/two/x.txt": "${b}"})
        assert running.get("pay/prod/x.txt").text == "2"

        history = running.revisions("pay/prod", token=running.token(VIEW_ALL), most=2)
        assert [each["commit"] for each in history] == [changed, came]
        assert _plan(running, [{"file": "teams/one/pay.yml", "set": {"d": 1}}]) == ["pay"]
        assert _plan(running, [{"file": "teams/three/pay.yml", "set": {"d": 1}}]) == ["pay"]

        running.push({"teams/two": None}, "gone")
        assert running.config("pay/prod") == {"a": 1, "b": 3, "c": 3}
