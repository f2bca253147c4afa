"""docs/recovery.md: what it tells to do when Git is gone, done."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from devstack.issuer import LocalIssuer
from devstack.origin import git
from tests.serving import serving, serving_origin


@pytest.mark.slow
def test_the_mirror_of_a_host_becomes_the_repository_when_the_repository_is_gone(
    tmp_path: Path, issuer: LocalIssuer
) -> None:
    new = tmp_path / "new.git"
    with serving(tmp_path, issuer, {"pay.yml": "a: 1\n"}) as server:
        before, origin = server.body("pay/prod"), server.origin
        origin.bare.rename(tmp_path / "gone")
        git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(new))
        command = ["git", "-C", str(tmp_path / "data" / "mirror" / "current"), "push", "--quiet", "--mirror", str(new)]
        subprocess.run(command, check=True)

    origin.bare = new
    git(origin.work, "remote", "set-url", "origin", str(new))
    with serving_origin(tmp_path, issuer, origin) as again:
        assert again.body("pay/prod") == before
        again.push({"pay.yml": "a: 2\n"})
        assert again.config("pay/prod") == {"a": 2}
