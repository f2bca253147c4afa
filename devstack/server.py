"""The real server: gunicorn with config/gunicorn.conf.py, in processes of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from devstack.processes import end, free_port, launch, plain_environment, tail, wait_ready

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "CONFIG_SERVER_"
READY = "/health/ready"


class Server:
    """gunicorn with the given settings; nothing of our own environment's settings reaches it.

    It writes what it says to `directory/log`, and keeps its data in `directory/data` unless DATA_DIR is given.
    """

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, str],
        *,
        application: str = "wsgi:app",
        port: int = 0,
        gunicorn_options: str = "",
    ) -> None:
        """`settings` by their names without prefix (`{"REPO_URL": ...}`); `port` 0 takes any free one. The options are
        gunicorn's own, as on its command line."""
        directory.mkdir(parents=True, exist_ok=True)
        self._application = application
        self._gunicorn_options = gunicorn_options
        self._process: subprocess.Popen[bytes] | None = None
        self.log = directory / "log"
        self.port = port or free_port()
        self.settings = {"BIND": f"127.0.0.1:{self.port}", "DATA_DIR": str(directory / "data"), **settings}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, until: str | None = READY, timeout: float = 60) -> Self:
        """Start it and wait until `until` answers 200 (None: do not wait). Raises NotReady.

        One worker answers; where it says that it is ready, the others are waited for too.
        """
        given = {PREFIX + name: value for name, value in self.settings.items()}
        env = {**plain_environment(without=(PREFIX, "PROMETHEUS_")), "PYTHONUNBUFFERED": "1", **given}
        env["GUNICORN_CMD_ARGS"] = self._gunicorn_options
        command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "config" / "gunicorn.conf.py")]
        self._process = launch([*command, self._application], self.log, cwd=ROOT, env=env)
        if until is not None:
            wait_ready("the server", lambda: self._answers(until), self._process, self.log, timeout=timeout)
            if until == READY:
                wait_ready("every worker", self._is_installed, self._process, self.log, timeout=timeout)
        return self

    def stop(self, *, timeout: float = 70) -> int:
        """Ask it to end (SIGTERM) and wait; its exit code. Killed with its workers after `timeout` seconds."""
        if self._process is None:
            return 0
        workers = self._children()
        code = end(self._process, timeout=timeout)
        for worker in workers:  # none is left, unless their parent had to be killed
            if worker.is_running():
                worker.kill()
        self._process = None
        return code

    def close(self) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def workers(self) -> list[int]:
        """The process ids of the living workers."""
        return [worker.pid for worker in self._children() if _is_worker(worker)]

    @property
    def installed(self) -> dict[int, str]:
        """The revision that each living worker has installed last, as the log tells."""
        lines = [line for line in self.log_lines() if line["message"] == "world.installed"]
        told = {line["process.pid"]: line["rev"] for line in lines}
        return {worker: told[worker] for worker in self.workers if worker in told}

    def kill_worker(self, worker: int | None = None) -> int:
        """Kill a worker (any, if none is named), as the kernel does when memory is short; its process id."""
        chosen = worker or self.workers[0]
        psutil.Process(chosen).kill()
        return chosen

    def kill(self) -> None:
        """End it and all workers at once, as a power cut does; `start` brings it back on the same port."""
        if self._process is not None:
            for process in (psutil.Process(self._process.pid), *self._children()):
                process.kill()
            self._process.wait()
            self._process = None

    def reload(self) -> None:
        """Replace the workers (SIGHUP)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def worker_of(self, port: int) -> int | None:
        """The worker that holds the connection which the client made from this local port, if one has accepted it."""
        for worker in self._children():
            try:
                connections = worker.net_connections(kind="tcp")
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
            if any(each.raddr and each.raddr.port == port for each in connections):
                return int(worker.pid)
        return None

    def output(self) -> str:
        """The last of what it said."""
        return tail(self.log, 20_000)

    def log_lines(self) -> list[dict[str, Any]]:
        """Everything it said, but for a line that is being written. Raises ValueError when one is not JSON."""
        return [json.loads(line) for line in self.log.read_text().split("\n")[:-1]]

    def _children(self) -> list[psutil.Process]:
        if self._process is None or self._process.poll() is not None:
            return []
        try:
            children = psutil.Process(self._process.pid).children()
        except psutil.NoSuchProcess:
            return []
        return [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]

    def _is_installed(self) -> bool:
        return len(self.installed) >= int(self.settings.get("WORKERS", "1"))

    def _answers(self, path: str) -> bool:
        try:
            # No TLS, so nothing to verify; reading the certificates for each look would slow down what it waits for.
            return httpx.get(self.url + path, timeout=2, trust_env=False, verify=False).status_code == 200  # noqa: S501
        except httpx.TransportError:
            return False


def _is_worker(child: psutil.Process) -> bool:
    """And not the check of the settings, which a reload starts beside them."""
    try:
        return any("gunicorn" in argument for argument in child.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
