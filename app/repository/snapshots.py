"""A folder that is no repository, made one: what stands in it is committed, beside it, whenever it has changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

from app.errors import RepositoryUnavailable
from app.repository.environment import local_environment
from app.repository.process import TimedOut, run

#: A folder of configuration has fewer files. Who names a home directory by mistake is told so.
MOST_FILES = 20_000
_BRANCH = "main"
_SECONDS = 20.0


class Snapshots:
    """Reads `folder`, writes the bare repository `path` and nothing else. For one thread.

    Files that a .gitignore in the folder names are left out, and so is every `.git`.
    """

    def __init__(self, folder: Path, path: Path) -> None:
        self.path = path
        self._folder = folder
        # Git takes `path` for the repository, and the folder for its work tree.
        author = {"NAME": "folder", "EMAIL": "folder@localhost"}
        self._environment = {
            **local_environment(path),
            "GIT_WORK_TREE": str(folder),
            **{f"GIT_{who}_{name}": value for who in ("AUTHOR", "COMMITTER") for name, value in author.items()},
        }

    def take(self) -> bool:
        """Commit what has changed since the last call; False when nothing has. Raises RepositoryUnavailable."""
        if not (self.path / "HEAD").exists():
            self._create()
        self._git("add", "--all", "--", ".")
        if self._born() and not self._git("diff", "--cached", "--quiet", "HEAD", answers=(0, 1)):
            return False
        message = f"The folder at {time.strftime('%FT%T%z')}"
        self._git("commit", "--quiet", "--allow-empty", "--no-gpg-sign", "-m", message)
        return True

    def _born(self) -> bool:
        return self._git("rev-parse", "--quiet", "--verify", "HEAD", answers=(0, 1)) == 0

    def _create(self) -> None:
        count = 0
        for _root, folders, files in os.walk(self._folder):
            folders[:] = [name for name in folders if name != ".git"]
            count += len(files)
            if count > MOST_FILES:
                raise RepositoryUnavailable(f"the folder has more than {MOST_FILES} files: is it one of configuration?")
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._git("init", "--quiet", "--bare", f"--initial-branch={_BRANCH}", work_tree=False)

    def _git(self, *arguments: str, answers: tuple[int, ...] = (0,), work_tree: bool = True) -> int:
        environment = dict(self._environment)
        if not work_tree:
            del environment["GIT_WORK_TREE"]
        try:
            done = run(("-C", str(self._folder), *arguments), environment=environment, timeout=_SECONDS)
        except (TimedOut, OSError) as exc:
            raise RepositoryUnavailable("the folder cannot be read by Git") from exc
        if done.status not in answers:
            raise RepositoryUnavailable(f"the folder cannot be taken over: git {arguments[0]} failed")
        return done.status
