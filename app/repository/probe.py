"""A look at the remote, without a mirror: which branches it shows, and at which of them its HEAD stands."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from app.repository.environment import GitCredentials, local_environment, network_environment
from app.repository.errors import GitFailed
from app.repository.failure import reason_of
from app.repository.process import TimedOut, run


@dataclass(frozen=True, slots=True)
class Remote:
    """`head` is the branch that HEAD names, None where it names none; `branches` all that there are."""

    head: str | None
    branches: frozenset[str]


def look_at(url: str, credentials: GitCredentials, *, timeout: float) -> Remote:
    """Ask `url` once. Raises GitFailed, in words that are safe to show, and ValueError for a URL that is none."""
    with tempfile.TemporaryDirectory(prefix="config-server-") as directory:
        clone = Path(directory) / "clone"
        try:
            run(["init", "--quiet", "--bare"], environment=local_environment(clone), timeout=timeout)
            environment = network_environment(clone, url, credentials, timeout)
            done = run(
                ["ls-remote", "--symref", "origin", "HEAD", "refs/heads/*"], environment=environment, timeout=timeout
            )
        except TimedOut as exc:
            raise GitFailed(f"the repository did not answer within {timeout:g} s", timed_out=True) from exc
        except FileNotFoundError as exc:
            raise GitFailed("git is not installed") from exc
    if done.status:
        raise GitFailed(reason_of(done.errors, done.status))
    return _read(done.output.decode(errors="replace"))


def _read(text: str) -> Remote:
    head, branches = None, set()
    for line in text.splitlines():
        what, _, name = line.partition("\t")
        if name == "HEAD" and what.startswith("ref: refs/heads/"):
            head = what.removeprefix("ref: refs/heads/")
        elif name.startswith("refs/heads/"):
            branches.add(name.removeprefix("refs/heads/"))
    return Remote(head, frozenset(branches))
