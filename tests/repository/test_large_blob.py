"""A file far larger than any configuration is neither in our memory nor in that of Git."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.origin import OriginRepo
from tests.repository.git_https import git_https

SIZE = 48 << 20
#: What one process of Git may have, in KiB: its code and libraries, and less than the file.
LIMIT = 40_000


@pytest.mark.slow
def test_a_blob_of_48_mib_is_fetched_and_refused_in_bounded_memory(tmp_path: Path, origin: OriginRepo) -> None:
    with (origin.work / "pay.yml").open("wb") as file:
        file.truncate(SIZE)
    origin.write({"shop.yml": "n: 1\n"})
    (tmp_path / "password").write_text("x")
    small = tmp_path / "small" / "git"
    small.parent.mkdir()
    small.write_text(f'#!/bin/sh\nulimit -v {LIMIT} && exec {shutil.which("git")} "$@"\n')
    small.chmod(0o700)
    environment = {**os.environ, "PATH": f"{small.parent}:{os.environ['PATH']}"}
    with git_https(origin.bare.parent, tmp_path, {"robot": "x"}) as server:
        command = [sys.executable, "-m", "tests.repository.large_blob", server.url, str(tmp_path), str(server.ca_file)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["outcome"] == "refused"
    assert told["mib"] < 16
