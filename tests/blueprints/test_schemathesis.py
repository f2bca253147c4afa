"""What /openapi.json promises, tried by schemathesis on a running server: no 5xx, no answer that is not described.

It is run as a program, with bounds in examples and time; streams that do not end are left to their own tests.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.issuer import LocalIssuer
from tests.blueprints.conftest import FILES
from tests.serving import EVERYTHING, Serving, serving

CHECKS = ",".join(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)
STREAMS = ("/v1/stream", "/v1/events")
BOUNDS = [
    "--max-examples",
    "3",
    "--max-time",
    "25",
    "--request-timeout",
    "60",
]  # one worker: its generators are not made for threads


def tried(site: Serving, token: str, directory: Path, *options: str) -> tuple[int, str]:
    """The exit code of schemathesis, and what it said."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{site.server.url}/openapi.json"]
    headers = {"Authorization": f"Bearer {token}", "X-Gitlab-Token": "hook"}
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    for path in STREAMS:
        command += ["--exclude-path", path]
    command += ["--checks", CHECKS, "--generation-deterministic", *BOUNDS, *options]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=100)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_every_answer_is_described_and_none_is_a_fault_of_the_server(tmp_path: Path, issuer: LocalIssuer) -> None:
    with serving(tmp_path, issuer, FILES, webhook_secret="hook", git_write=True) as site:
        code, said = tried(site, site.token(EVERYTHING), tmp_path, "--phases", "coverage,fuzzing")
    assert code == 0, said
    selected, there_are = map(int, re.search(r"Selected: (\d+)/(\d+)", said).groups())  # type: ignore[union-attr]
    assert selected == there_are - len(STREAMS)
