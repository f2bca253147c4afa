"""Revocations on a disk that is full for a while, run as a script: python -m tests.access.full_disk DIRECTORY.

The limit on the size of a file (RLIMIT_FSIZE) holds for the whole process, so it is set in one of its own.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from app.access import Revocations
from app.errors import Unavailable
from app.model import Principal
from app.observability import configure_logging

ISSUER = "https://issuer.example"


def limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def main(directory: Path) -> dict[str, object]:
    path = directory / "revocations.json"
    revocations = Revocations(path, None, on_change=lambda: None)
    until = time.time() + 600
    revocations.revoke("sub", ISSUER, "ada", until)
    limit(path.stat().st_size)
    answer: dict[str, object] = {}
    try:
        revocations.revoke("sub", ISSUER, "bob", until)
    except Unavailable as refused:
        answer["refused"] = str(refused)
    bob, ada = (Principal(ISSUER, name, (), until) for name in ("bob", "ada"))
    answer |= {"bob": revocations.is_revoked(bob), "ada": revocations.is_revoked(ada)}
    limit(resource.RLIM_INFINITY)
    revocations.revoke("sub", ISSUER, "bob", until)
    answer["files"] = sorted(each.name for each in directory.iterdir())
    answer["bob_after"] = Revocations(path, None, on_change=lambda: None).is_revoked(bob)
    return answer


if __name__ == "__main__":
    configure_logging("info", sys.stderr)
    print(json.dumps(main(Path(sys.argv[1]))))  # noqa: T201 - the script's answer
