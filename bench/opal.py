"""OPAL (PyPI opal-server), which notifies clients of a Git repository's changes: in an environment of its own."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from pathlib import Path

from bench.program import Program
from bench.wire import Opening, masked, upgrade
from devstack.origin import OriginRepo
from devstack.processes import free_port
from devstack.server import ROOT

VERSION = "0.9.9"
#: The server does not start without the two others, and does not say that it needs them.
_PACKAGES = (f"opal-server=={VERSION}", "aiofiles==25.1.0", "setuptools==84.2.1")
_HOME = ROOT / ".run" / "opal"
_START, _INSTALL = 60.0, 240.0


def python() -> Path:
    """The interpreter of OPAL's environment, which is made if need be. Raises OSError, subprocess.SubprocessError."""
    found = _HOME / "bin" / "python"
    if not (_HOME / "made").exists():
        _HOME.parent.mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(_HOME)], check=True)  # noqa: S603 - ours
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(found), *_PACKAGES]
        subprocess.run(command, check=True, timeout=_INSTALL)  # noqa: S603 - ours
        (_HOME / "made").touch()
    return found


class Opal(Program):
    """A started server of one worker that follows an origin of its own in `directory`. A context manager."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._origin = OriginRepo(directory / "origin")
        self._origin.write({"data.json": json.dumps({"release": 0})})
        self.port = free_port()
        self._clone = directory / "clone"
        settings = {
            "OPAL_POLICY_REPO_URL": self._origin.url,
            "OPAL_POLICY_REPO_MAIN_BRANCH": "main",
            "OPAL_POLICY_REPO_CLONE_PATH": str(self._clone),
            "OPAL_POLICY_REPO_POLLING_INTERVAL": "0",
            "OPAL_LEADER_LOCK_FILE_PATH": str(directory / "leader.lock"),
            "OPAL_STATISTICS_ENABLED": "false",
            "OPAL_LOG_LEVEL": "WARNING",
        }
        command = [str(python()), "-m", "uvicorn", "opal_server.main:app", "--port", str(self.port)]
        command += ["--ws-ping-interval", "3600"]  # the load client answers no pings
        command += ["--log-level", "warning"]
        super().__init__("OPAL", command, directory, timeout=_START, HOME=str(directory), **settings)

    def openings(self, count: int) -> list[Opening]:
        """Clients that follow the whole repository."""
        call = {"method": "subscribe", "arguments": {"topics": ["policy:."]}, "call_id": "1"}
        subscribe = masked(json.dumps({"request": call}).encode())
        return [Opening("calls", upgrade("/ws"), subscribe, ready=b'"response"')] * count

    def push(self, number: int) -> str:
        """A commit, of which OPAL does not know yet; by its id a notification is known."""
        return self._origin.write({"data.json": json.dumps({"release": number})})

    def hook(self) -> float:
        """Call the webhook as GitHub does; when that was (monotonic seconds)."""
        body = json.dumps({"ref": "refs/heads/main", "repository": {"git_url": self._origin.url}}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        began = time.monotonic()
        headers = {"Content-Type": "application/json", "X-GitHub-Event": "push"}
        connection.request("POST", "/webhook", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"OPAL's webhook was answered with {answer.status}: {said!r}")
        return began

    def answers(self) -> bool:
        return self._clone.exists() and self._is_healthy()

    def _is_healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/healthcheck")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()
