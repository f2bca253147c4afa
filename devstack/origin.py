"""A real origin: a bare repository, and the working clone of somebody who pushes to it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "LC_ALL": "C",
}


def git(directory: Path, *arguments: str | bytes, stdin: bytes | None = None) -> str:
    """Run git in `directory`, apart from the configuration of whoever runs it; its output, stripped."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *arguments], cwd=directory, env=inherited | _ENVIRONMENT, input=stdin, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"git {arguments}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode(errors="replace").strip()


class OriginRepo:
    """`directory/origin.git` (bare) and `directory/work`, on branch `default`, without a commit at first."""

    def __init__(self, directory: Path, *, default: str = "main") -> None:
        self.bare = directory / "origin.git"
        self.work = directory / "work"
        directory.mkdir(parents=True, exist_ok=True)
        git(directory, "init", "--quiet", "--bare", f"--initial-branch={default}", str(self.bare))
        git(directory, "init", "--quiet", f"--initial-branch={default}", str(self.work))
        git(self.work, "remote", "add", "origin", str(self.bare))
        for repository in (self.bare / "config", self.work / ".git" / "config"):
            with repository.open("a") as config:  # no housekeeping after each commit and push: tests make many
                config.write("[maintenance]\n\tauto = false\n[receive]\n\tautogc = false\n")

    @classmethod
    def opened(cls, directory: Path) -> Self:
        """The one that is in `directory` already."""
        repository = cls.__new__(cls)
        repository.bare, repository.work = directory / "origin.git", directory / "work"
        return repository

    @property
    def url(self) -> str:
        return str(self.bare)

    @property
    def head(self) -> str:
        """The commit that the working clone stands at."""
        return git(self.work, "rev-parse", "HEAD")

    @property
    def current_branch(self) -> str:
        return (self.work / ".git" / "HEAD").read_text().strip().removeprefix("ref: refs/heads/")

    def write(self, files: Mapping[str, str | bytes | None], message: str = "a change") -> str:
        """Write (None: delete) files on the current branch, commit and push. The id of the commit."""
        gone = [path for path, content in files.items() if content is None]
        if gone:
            git(self.work, "rm", "--quiet", "-r", "--", *gone)  # first, and folders too: a file may take their place
        for path, content in files.items():
            if content is not None:
                file = self.work / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content if isinstance(content, bytes) else content.encode())
        git(self.work, "add", "--all")
        git(self.work, "commit", "--quiet", "--allow-empty", "--cleanup=verbatim", "-m", message)
        return self.push()

    def push(self) -> str:
        """Push what the working clone's branch stands at. The id of the commit."""
        git(self.work, "push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{self.current_branch}")
        return self.head

    def branch(self, name: str) -> None:
        """Go to branch `name`, making it here and at the origin if it is not there yet."""
        known = f"refs/heads/{name}" in git(self.work, "for-each-ref", "--format=%(refname)").split("\n")
        git(self.work, "checkout", "--quiet", *([] if known else ["-b"]), name)
        if not known:
            self.push()

    def tag(self, name: str, *, message: str | None = None) -> None:
        """Tag the current commit and push the tag; with a message it is an annotated tag."""
        git(self.work, "tag", "--force", *(["-a", "-m", message] if message else []), name)
        git(self.work, "push", "--quiet", "--force", "origin", f"refs/tags/{name}")

    def force(self, commit: str) -> None:
        """Rewrite the current branch, here and at the origin, to stand at `commit`."""
        git(self.work, "reset", "--quiet", "--hard", commit)
        self.push()

    def hook(self, name: str, script: str | None) -> None:
        """Let the origin run a shell script as its hook `name` (pre-receive, post-receive ...); None: no longer."""
        file = self.bare / "hooks" / name
        file.unlink(missing_ok=True)
        if script is not None:
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"#!/bin/sh\n{script}\n")
            file.chmod(0o700)

    def pushed(self, branch: str = "main") -> str:
        """The commit that a branch of the bare repository stands at, whoever pushed it."""
        return git(self.bare, "rev-parse", f"refs/heads/{branch}")

    def read(self, path: str, *, branch: str = "main") -> str:
        """A file at a branch of the bare repository."""
        return git(self.bare, "cat-file", "blob", f"refs/heads/{branch}:{path}")

    def delete_branch(self, name: str) -> None:
        """Delete a branch, at the origin and here; it must not be the current one here."""
        git(self.bare, "update-ref", "-d", f"refs/heads/{name}")
        git(self.work, "update-ref", "-d", f"refs/heads/{name}")
