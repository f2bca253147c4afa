"""`make mutants`: takes guards out, one by one, in a copy of the tree, and shows that a test misses each of them.

The guards stand in tests/mutants.toml. Nothing is changed in place. Words on the command line choose among them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "tests" / "mutants.toml"
_FOLDERS = ("app", "client", "config", "devstack", "docs", "tests")
#: Two at a time: most of what a test does is wait for its servers.
_AT_ONCE = 2
_PATIENCE = 180


@dataclass(frozen=True, slots=True)
class Mutant:
    """`line` of `file` is the guard, `becomes` stands in its place; `test` is what must fail then."""

    guard: str
    file: str
    line: str
    becomes: str
    test: str

    def apply(self, root: Path) -> None:
        """Take the guard out. Raises ValueError when the line is not there, or there twice."""
        path = root / self.file
        text, found = re.subn(f"^{re.escape(self.line)}", lambda _: self.becomes, path.read_text(), flags=re.MULTILINE)
        if found != 1:
            raise ValueError(f"{self.file} has {found} lines that begin with {self.line!r}")
        path.write_text(text)


def mutants(path: Path = LIST) -> list[Mutant]:
    return [Mutant(**entry) for entry in tomllib.loads(path.read_text())["mutant"]]


def is_missed(mutant: Mutant) -> bool:
    """Whether the test fails without the guard. A test that cannot be run at all proves nothing."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as scratch:
        root = Path(scratch)
        copy(root)
        mutant.apply(root)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", mutant.test]
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(root)}
        try:
            done = subprocess.run(command, cwd=root, env=env, capture_output=True, check=False, timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 1 and b" failed" in done.stdout


def copy(root: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "node_modules", ".*")
    for folder in _FOLDERS:
        if (ROOT / folder).is_dir():
            shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    for file in (*ROOT.glob("*.toml"), *ROOT.glob("*.py"), *ROOT.glob("*.md"), *ROOT.glob("*.txt"), ROOT / "Makefile"):
        shutil.copy(file, root / file.name)


def main(words: list[str]) -> int:
    chosen = [each for each in mutants() if all(word in f"{each.guard} {each.file}" for word in words)]
    started = time.monotonic()
    survived = 0
    with ThreadPoolExecutor(_AT_ONCE) as workers:
        for mutant, missed in zip(chosen, workers.map(is_missed, chosen), strict=True):
            survived += not missed
            print(f"{'missed  ' if missed else 'SURVIVED'}  {mutant.guard}  ({mutant.file})", flush=True)
    seconds = time.monotonic() - started
    print(f"{len(chosen) - survived} of {len(chosen)} guards are missed when they are gone, {seconds:.0f} s")
    return 1 if survived or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
