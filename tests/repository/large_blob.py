"""As a process of its own, fetch a repository with a large file, ask for that, and tell how much memory it took."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from app.errors import ConfigServerError
from app.repository import BlobTooLarge, GitConfigBackend, GitCredentials


def main(url: str, directory: Path, ca_file: Path) -> None:
    credentials = GitCredentials(username="robot", password_file=directory / "password", ca_file=ca_file)
    backend = GitConfigBackend(url, directory / "mirror", credentials=credentials, timeout=60.0, clone_timeout=60.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = "served"
    try:
        tree = backend.tree(backend.fetch().branches["main"])
        backend.blob(tree.blobs["pay.yml"].id, limit=1 << 20)
    except BlobTooLarge:
        outcome = "refused"
    except ConfigServerError as error:
        outcome = str(error)
    backend.close()
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"outcome": outcome, "mib": kib >> 10}))  # noqa: T201 - the answer of this process


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
