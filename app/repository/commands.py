"""Runs Git against the mirror, and turns its failures into errors that are safe to show."""

from __future__ import annotations

from pathlib import Path

from app.repository.environment import GitCredentials, local_environment, network_environment
from app.repository.errors import GitFailed
from app.repository.failure import looks_damaged, no_room, reason_of
from app.repository.mirror import MirrorDirectory
from app.repository.process import Completed, TimedOut, run


class Commands:
    """One method for commands that only touch the clone and one for those that talk to a remote. Thread-safe.

    `timeout` is in seconds and holds for every command that does not bring its own.
    """

    def __init__(self, url: str, mirror: MirrorDirectory, *, credentials: GitCredentials, timeout: float) -> None:
        self._url = url
        self._mirror = mirror
        self._credentials = credentials
        self._timeout = timeout

    def local(
        self, *arguments: str, stdin: bytes | None = None, timeout: float | None = None, answers: tuple[int, ...] = (0,)
    ) -> Completed:
        """Run against the current clone. `answers` are the exit statuses that are no failure.

        Asks again when the clone was replaced meanwhile. Raises GitFailed.
        """
        clone = self._mirror.current()
        try:
            return self.local_in(clone, *arguments, stdin=stdin, timeout=timeout, answers=answers)
        except GitFailed:
            successor = self._mirror.current()
            if successor == clone:
                raise
        return self.local_in(successor, *arguments, stdin=stdin, timeout=timeout, answers=answers)

    def local_in(
        self,
        clone: Path,
        *arguments: str,
        stdin: bytes | None = None,
        timeout: float | None = None,
        answers: tuple[int, ...] = (0,),
    ) -> Completed:
        """The same, against one clone."""
        seconds = timeout or self._timeout
        try:
            done = run(arguments, environment=local_environment(clone), timeout=seconds, stdin=stdin)
        except TimedOut as exc:
            raise GitFailed(f"git {arguments[0]} took longer than {seconds:g} s", timed_out=True) from exc
        except FileNotFoundError as exc:
            raise GitFailed("git is not installed") from exc
        if done.status not in answers:
            reason = f"git {arguments[0]} failed with status {done.status}"
            raise GitFailed(reason, damaged=not no_room(done.errors))  # no remote to blame
        return done

    def network(self, clone: Path, *arguments: str, timeout: float | None = None, url: str | None = None) -> bytes:
        """Run a command that talks to `origin`: the configured repository, or `url`, a path of this machine.

        Only for the process that pulls: the process group is recorded for a successor. Raises GitFailed.
        """
        seconds = timeout or self._timeout
        credentials = GitCredentials() if url else self._credentials
        environment = network_environment(clone, url or self._url, credentials, self._timeout)
        try:
            done = run(arguments, environment=environment, timeout=seconds, started=self._mirror.record_process)
        except TimedOut as exc:
            raise GitFailed(f"the repository did not answer within {seconds:g} s", timed_out=True) from exc
        except FileNotFoundError as exc:
            raise GitFailed("git is not installed") from exc
        finally:
            self._mirror.record_process(None)
        if done.status != 0:
            raise GitFailed(reason_of(done.errors, done.status), damaged=looks_damaged(done.errors))
        return done.output
