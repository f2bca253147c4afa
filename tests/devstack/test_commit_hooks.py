"""What runs before a commit: a valid list of programs that the environment has, and nothing from elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from devstack.server import ROOT

CONFIG = ROOT / ".pre-commit-config.yaml"


def test_the_hooks_are_valid_and_need_nothing_from_elsewhere() -> None:
    command = [sys.executable, "-m", "pre_commit", "validate-config", str(CONFIG)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    (source,) = yaml.safe_load(CONFIG.read_text())["repos"]
    assert source["repo"] == "local"
    programs = [Path(hook["entry"].split()[0]) for hook in source["hooks"]]
    assert {str(program.parent) for program in programs} == {".venv/bin"}
    assert all(Path(sys.executable).with_name(program.name).exists() for program in programs)
