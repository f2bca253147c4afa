"""A repository, and a webhook, of somebody who wants something executed: nothing is, and the rest is served."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import pytest

from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo, git
from tests.serving import serving_origin
from tests.support import eventually

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


def test_filters_hooks_submodules_and_lfs_of_a_repository_run_nothing(tmp_path: Path, issuer: LocalIssuer) -> None:
    mark = tmp_path / "executed"
    origin = OriginRepo(tmp_path / "origin")
    touch = f"touch {mark}"
    git(tmp_path, "init", "--quiet", "--bare", "module.git")
    origin.write(
        {
            "pay.yml": "n: 1\n",
            "data/model.bin": LFS,
            "version.txt": "$Id$ $Format:%H$\n",
            ".gitattributes": "*.yml filter=evil diff=evil\n*.bin filter=lfs\nversion.txt ident export-subst\n",
            ".gitmodules": f'[submodule "m"]\n\tpath = m\n\turl = ext::sh -c "{touch}"\n\tupdate = !{touch}\n',
            ".gitconfig": f'[core]\n\tfsmonitor = {touch}\n[filter "evil"]\n\tsmudge = {touch}\n',
            ".git-hooks/post-checkout": f"#!/bin/sh\n{touch}\n",
            ".lfsconfig": "[lfs]\n\turl = http://127.0.0.1:1/\n",
        }
    )
    with serving_origin(tmp_path, issuer, origin) as server:
        hooks = next((tmp_path / "data" / "mirror").glob("clone-*")) / "hooks"
        hooks.mkdir(exist_ok=True)
        for name in ("post-checkout", "post-merge", "reference-transaction", "pre-auto-gc"):
            (hooks / name).write_text(f"#!/bin/sh\n{touch}\n")
            (hooks / name).chmod(0o755)
        server.push({"pay.yml": "n: 2\n"})
        assert server.config("pay/prod") == {"n": 2}
        assert server.get("pay/prod/data/model.bin").text == LFS
        assert server.get("pay/prod/version.txt").text == "$Id$ $Format:%H$\n"
    assert not mark.exists()


@pytest.mark.parametrize("url", ["ext::sh -c 'touch {mark}'", "file://{bare}", "--upload-pack=touch {mark}", "{bare}"])
def test_what_a_webhook_names_is_fetched_from_nowhere(tmp_path: Path, issuer: LocalIssuer, url: str) -> None:
    """It is a hint to ask the configured remote; of its body nothing is used."""
    mark = tmp_path / "executed"
    origin, other = OriginRepo(tmp_path / "origin"), OriginRepo(tmp_path / "other")
    origin.write({"pay.yml": "n: 1\n"})
    other.write({"pay.yml": "n: 666\n"})
    with serving_origin(tmp_path, issuer, origin, webhook_secret="hook") as server:
        named = url.format(mark=mark, bare=other.bare)
        payload = {"ref": "refs/heads/main", "repository": {"clone_url": named, "ssh_url": named, "git_url": named}}
        body = json.dumps(payload).encode()
        signature = hmac.new(b"hook", body, hashlib.sha256).hexdigest()
        origin.write({"pay.yml": "n: 2\n"})
        for _ in range(2):  # replayed, it is the same hint once more
            headers = {"X-Hub-Signature-256": f"sha256={signature}"}
            answer = server.ask("/hooks/git", method="POST", token="", content=body, headers=headers)
            assert answer.status_code == 202
        eventually(lambda: server.config("pay/prod") == {"n": 2})
    assert not mark.exists()
