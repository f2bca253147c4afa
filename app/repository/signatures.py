"""Whether commits were signed, and by whom: Git's own check of SSH signatures against a file of allowed signers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from app.cache import LocalCache
from app.errors import RepositoryUnavailable
from app.model import COMMIT
from app.repository.commands import Commands


@dataclass(frozen=True, slots=True)
class Signature:
    """`state` is Git's %G?: G is good and by `signer`, U good and by a key that is none of theirs, B bad, E one that
    cannot be checked."""

    state: str
    signer: str | None = None


class Signatures:
    """Thread-safe. `allowed` is a file as ssh-keygen(1) has it, ALLOWED SIGNERS, read again when it has changed.

    OpenPGP and X.509 signatures are not checked: whose keyring would it be.
    """

    def __init__(self, commands: Commands, allowed: Path) -> None:
        self._commands = commands
        self._allowed = allowed
        self._known: LocalCache[tuple[str, int], Signature] = LocalCache(10_000)

    def of(self, commits: Iterable[str]) -> dict[str, Signature]:
        """Of commits that have a signature. Starts processes for those that were not looked at yet.

        What cannot be checked now is E, and is looked at again.
        """
        wanted = list(dict.fromkeys(commits))
        try:
            known = self._known_of([each for each in wanted if COMMIT.fullmatch(each)])
        except RepositoryUnavailable:
            known = {}
        return {each: known.get(each) or Signature("E") for each in wanted}

    def is_good(self, commit: str) -> bool:
        """Whether one of the signers has signed it. Raises RepositoryUnavailable when nobody can say just now."""
        return self._known_of([commit])[commit].state == "G"

    def _known_of(self, commits: list[str]) -> dict[str, Signature]:
        """Raises RepositoryUnavailable."""
        try:
            version = self._allowed.stat().st_mtime_ns
        except OSError as exc:
            raise RepositoryUnavailable("the file of allowed signers cannot be read") from exc
        known = {each: found for each in commits if (found := self._known.get((each, version))) is not None}
        looked_at = self._looked_at([each for each in commits if each not in known])
        for commit, signature in looked_at.items():
            self._known.put((commit, version), signature)
        return known | looked_at

    def _looked_at(self, commits: list[str]) -> dict[str, Signature]:
        if not commits:
            return {}
        config = {
            "gpg.ssh.allowedSignersFile": str(self._allowed.absolute()),
            "gpg.program": "false",
            "gpg.x509.program": "false",
        }
        switches = [part for name, value in config.items() for part in ("-c", f"{name}={value}")]
        question = "\n".join([*commits, ""]).encode("ascii")
        done = self._commands.local(
            *switches, "log", "--stdin", "--no-walk=unsorted", "--format=%H %G? %GS", stdin=question
        )
        return dict(_read(line) for line in done.output.decode("utf-8", "replace").splitlines() if line)


def _read(line: str) -> tuple[str, Signature]:
    commit, state, signer = line.split(" ", 2)
    return commit, Signature("E" if state == "N" else state, signer if state == "G" and signer else None)
