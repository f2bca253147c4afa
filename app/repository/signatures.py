"""Whether a commit is signed by somebody whom the operator allows: SSH signatures, verified by Git in the mirror."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from app.cache import LocalCache
from app.errors import RepositoryUnavailable
from app.model import Commit
from app.repository.commands import Commands


class Signatures:
    """Thread-safe. An answer is remembered while the allowed signers file is the same.

    The file is that of ssh-keygen(1), ALLOWED SIGNERS; it is looked at again each time, so it may be replaced. What
    another program has signed (OpenPGP, X.509) is not signed: whom that program trusts is not for us to say.
    """

    def __init__(self, commands: Commands, read: Callable[[str], Commit], allowed_signers: Path) -> None:
        """`read` gives a commit without a process. Raises ValueError when this machine cannot verify."""
        if shutil.which("ssh-keygen") is None:
            raise ValueError("signatures of commits are verified by ssh-keygen, which is not on the PATH")
        self._commands = commands
        self._read = read
        self._file = allowed_signers.absolute()
        self._known: LocalCache[tuple[tuple[int, int, int], str], bool] = LocalCache(4096)

    def is_verified(self, commit: str) -> bool:
        """Whether an allowed signer has signed `commit`, an id. One process, the first time, if it has a signature.

        Raises RepositoryUnavailable when Git or the file of signers is away, ObjectLost without such a commit.
        """
        key = (self._stamp(), commit)
        known = self._known.get(key)
        if known is None:
            known = self._read(commit).signed and self._ask(commit)
            self._known.put(key, known)
        return known

    def _ask(self, commit: str) -> bool:
        """A good signature by an unknown key is nobody's: Git 2.39 knows that by itself, others by `minTrustLevel`."""
        settings = (
            f"gpg.ssh.allowedSignersFile={self._file}",
            "gpg.minTrustLevel=fully",
            "gpg.ssh.program=ssh-keygen",
            "gpg.program=false",
            "gpg.openpgp.program=false",
            "gpg.x509.program=false",
        )
        options = [word for setting in settings for word in ("-c", setting)]
        return self._commands.local(*options, "verify-commit", "--", commit, answers=(0, 1)).status == 0

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = self._file.stat()
        except OSError as exc:
            raise RepositoryUnavailable("the file of allowed signers cannot be read") from exc
        return found.st_mtime_ns, found.st_size, found.st_ino
