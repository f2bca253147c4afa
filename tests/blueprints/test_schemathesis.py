"""What /openapi.json promises, tried by schemathesis on a running server: no 5xx, no answer that is not described.

It is run as a program, with a bound in examples. Its token is over, but good as long as the leeway lasts: all
is answered as usual, and an event stream that is opened ends at once, with goodbye, and is an answer like any other.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.valkey import Valkey
from tests.blueprints.conftest import FILES
from tests.serving import EVERYTHING, Serving, serving
from tests.valkeys import valkey

__all__ = ["valkey"]

CHECKS = ",".join(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)
#: Seconds; far longer than a run takes.
LEEWAY = 600
GRANTS = f"{EVERYTHING} config:audit config:encrypt config:decrypt"
#: By number and not by time, so that a busy machine tries as much as an idle one. One worker: its generators are not
#: made for threads.
BOUNDS = ["--max-examples", "3", "--request-timeout", "60"]


def tried(site: Serving, token: str, directory: Path, *options: str) -> tuple[int, str]:
    """The exit code of schemathesis, and what it said."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{site.server.url}/openapi.json"]
    headers = {"Authorization": f"Bearer {token}", "X-Gitlab-Token": "hook"}
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    command += ["--checks", CHECKS, "--generation-deterministic", *BOUNDS, *options]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=280)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)  # some two thousand requests
def test_every_answer_is_described_and_none_is_a_fault_of_the_server(
    tmp_path: Path, issuer: LocalIssuer, bao: Bao, valkey: Valkey
) -> None:
    """A server that offers everything: 501 is one of 5xx."""
    key = tmp_path / "key"
    key.write_text("a key of sixteen bytes or more")
    settings: dict[str, Any] = {"webhook_secret": "hook", "git_write": True, "jwt_leeway_seconds": LEEWAY}
    settings |= {"encrypt_key_file": key, "decrypt_endpoint": True, "redis_url": valkey.url, "key_file": key}
    with serving(tmp_path, issuer, FILES, vault=bao, **settings) as site:
        token = site.token(GRANTS, exp=int(time.time()) - 5)
        code, said = tried(site, token, tmp_path, "--phases", "coverage,fuzzing")
    assert code == 0, said
    counts = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", said)
    assert counts is not None, said
    assert len(set(counts.groups())) == 1, "not every operation was tried"
