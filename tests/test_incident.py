"""The incident of docs/operations.md: every command of it, as it stands there, against a real server."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from devstack.issuer import LocalIssuer
from tests.serving import Serving, serving

ROOT = Path(__file__).resolve().parent.parent
GOOD: dict[str, str | bytes | None] = {
    "application.yml": "log: info\n",
    "pay.yml": "db:\n  pool: 5\n",
    "pay-prod.yml": "db:\n  pool: 9  # as measured\n",
    "shop.yml": "items: [a]\n",
}


def commands() -> list[str]:
    """The shell's part of the section, block by block."""
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.partition("\n## An incident\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def run(running: Serving) -> subprocess.CompletedProcess[str]:
    settings = {
        "URL": running.server.url,
        "ADMIN": running.token("config:write config:audit", sub="ada@example.org"),
        "DATA_DIR": str(running.server.settings.data_dir),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")} | settings
    script = "set -euo pipefail\n" + "".join(f"{block}\necho\necho ---\n" for block in commands())
    return subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110, check=False
    )


class Client:
    """One that follows its configuration, and says so."""

    def __init__(self, running: Serving) -> None:
        self._running = running
        self._token = running.token(sub="pay-1")
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        assert self._ready.wait(60)

    def _follow(self) -> None:
        with contextlib.suppress(httpx.TransportError):  # the end of the server
            self._listen()

    def _listen(self) -> None:
        headers = {"Authorization": f"Bearer {self._token}", "X-Config-Instance": "pay-1"}
        url = f"{self._running.server.url}/v1/events?topic=pay/prod"
        with httpx.stream("GET", url, headers=headers, timeout=60, trust_env=False) as answer:
            connection = ""
            for line in answer.iter_lines():
                if (found := re.search(r'"conn":\s*"(\w+)"', line)) is not None:
                    connection = found[1]
                if '"type":"change"' in line.replace(" ", ""):
                    self._acknowledge(connection, line)
                if line.startswith("event: sync"):
                    self._ready.set()

    def _acknowledge(self, connection: str, line: str) -> None:
        etag = re.search(r'"etag":\s*"(\w+)"', line)
        assert etag is not None
        said = {"conn": connection, "rev": "1-0.1", "topic": "pay/prod/main", "etag": etag[1], "status": "applied"}
        url, headers = f"{self._running.server.url}/v1/acks", {"Authorization": f"Bearer {self._token}"}
        # By connections of its own, which end with the server; those of the test may end before.
        while httpx.post(url, headers=headers, json=said, timeout=60, trust_env=False).status_code != 204:
            threading.Event().wait(0.05)  # its stream is not known to all yet


@pytest.fixture
def running(tmp_path: Path, issuer: LocalIssuer) -> Iterator[Serving]:
    with serving(tmp_path, issuer, GOOD, git_write=True, envs=("prod", "dev")) as server:
        yield server


@pytest.mark.slow
def test_the_incident_of_the_guide_ends_well(running: Serving) -> None:
    good = running.origin.head
    bad = running.push({"pay-prod.yml": "db:\n  pool: 900\n"}, "More connections")
    running.push({"shop.yml": "items: [a, b]\n"}, "Another service's")
    Client(running)

    done = run(running)

    assert done.returncode == 0, done.stdout + done.stderr
    parts = done.stdout.split("\n---\n")
    assert '"held_back":0' in parts[1]
    assert (bad in parts[2], '"key":"db.pool"' in parts[2], '"from":9' in parts[2]) == (True, True, True)
    assert good in parts[3]
    assert parts[3].rstrip().endswith('"config":9}')
    assert '"all":1' in parts[4]
    assert '"verdict":"ok"' in done.stderr
    assert '"service":"shop"' not in done.stderr
    assert '"config":{"log":"info","db":{"pool":9}}' in parts[6]
    for action in ("label.hold", "config.rollback.begun", "config.rollback", "label.release"):
        assert f'"action":"{action}"' in parts[7]
    assert "intact" in parts[7]
    assert running.origin.read("pay-prod.yml") == "db:\n  pool: 9  # as measured"
    assert running.origin.read("shop.yml") == "items: [a, b]"
    assert running.body("pay/prod")["version"] == running.origin.pushed()
    assert "stale" not in running.body("pay/prod")
    assert running.get("pay/prod", token=running.token(sub="deployer-7")).status_code == 401
