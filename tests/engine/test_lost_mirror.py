"""The mirror is lost while the server runs, and what was served is nowhere else any more."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx

from devstack.issuer import LocalIssuer
from devstack.origin import git
from tests.serving import Serving, serving
from tests.support import eventually


def _rewrite_everything(running: Serving) -> str:
    """One new commit without a parent at the origin, nothing of the old ones left anywhere."""
    git(running.origin.work, "checkout", "--quiet", "--orphan", "fresh")
    git(running.origin.work, "branch", "--quiet", "-D", "main")
    git(running.origin.work, "branch", "--quiet", "-m", "main")
    commit = running.origin.write({"pay.yml": "n: 2\n"})
    for tag in git(running.origin.work, "tag").split():
        git(running.origin.bare, "update-ref", "-d", f"refs/tags/{tag}")
    git(running.origin.bare, "gc", "--quiet", "--prune=now")
    shutil.rmtree(running.server.settings.data_dir / "mirror")
    return commit


def test_what_is_new_is_served_all_the_same(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: 1\n"}) as running:
        for number in range(20):  # enough to push the served tree out of memory
            running.origin.write({"other.yml": f"n: {number}\n"})
            running.origin.tag(f"v{number}")
        running.push({"last.yml": "n: 1\n"})
        held = running.get("pay/prod").headers["ETag"]
        commits = [running.body("other/prod", label=f"v{number}")["version"] for number in range(20)]
        assert len(set(commits)) == 20
        url = f"{running.server.url}/v1/events?topic=pay/prod"
        bearer = {"Authorization": f"Bearer {running.token()}"}
        with httpx.stream("GET", url, headers=bearer, trust_env=False, timeout=60) as stream:
            lines = stream.iter_lines()
            next(line for line in lines if line == "event: sync")
            commit = _rewrite_everything(running)
            running.refresh()

            eventually(lambda: running.body("pay/prod")["version"] == commit)
            assert running.get("pay/prod").headers["ETag"] != held
            change = next(line for line in lines if line.startswith("data:") and commit in line)
            assert '"op":"put"' in change.replace(" ", "")
        eventually(lambda: running.get("other/prod", label="v3").status_code == 404)


def test_a_deleted_default_branch_is_followed_again_when_it_comes_back(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: 1\n"}) as running:
        served = running.origin.head
        running.origin.branch("elsewhere")
        running.push({"pay.yml": "n: 9\n"})
        running.origin.delete_branch("main")
        assert running.refresh().status_code == 200
        git(tmp_path / "data" / "mirror" / "current", "gc", "--quiet", "--prune=now")
        assert running.body("pay/prod")["version"] == served
        assert running.config("pay/prod", label=served) == {"n": 1}

        running.origin.branch("main")
        commit = running.push({"pay.yml": "n: 3\n"})
        eventually(lambda: running.body("pay/prod")["version"] == commit)
