"""Ending what was started, whatever came in between."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from devstack.server import ROOT

#: Starts a process of its own session, as an interrupt would leave it: nobody has kept its name.
FORGETFUL = """
import os, sys
from pathlib import Path
from devstack.processes import end_children, launch
launch(["sleep", "600"], Path("log"), cwd=Path("."), env=os.environ)
child = int(Path("pid").read_text().split()[0])
print(child, end_children(), end_children())
"""


def test_a_child_that_nobody_remembers_is_ended_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORGETFUL], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=True
    )
    child, ended, then = map(int, done.stdout.split())
    assert (ended, then) == (1, 0)
    assert not psutil.pid_exists(child)
