"""A command under a configuration: started with it, restarted or signalled when it changes, ended with us."""

from __future__ import annotations

import json
import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from config_client.env_names import lines, variables
from config_client.snapshot import Change
from config_client.threads import SyncConfigClient
from config_client.tokens import TokenSource

_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Plan:
    """`on_change`: restart, signal or nothing. `keep_out` are variables of ours that the command does not get.

    A variable that is set already wins over the configuration's, as with Spring.
    """

    server: str
    service: str
    env: str
    label: str
    token: TokenSource
    command: tuple[str, ...]
    prefix: str = ""
    file: Path | None = None
    on_change: str = "restart"
    signal: signal.Signals = signal.SIGHUP
    grace: float = 10.0
    cache_dir: Path | None = None
    keep_out: frozenset[str] = frozenset()


def run(plan: Plan) -> int:
    """Until the command ends; its exit code, 128 + N if signal N ended it.

    Raises ConfigError without a first configuration, ValueError for one that makes no variables, OSError for a command
    that cannot be started.
    """
    client = SyncConfigClient(
        plan.server, plan.service, plan.env, plan.token, label=plan.label, cache_dir=plan.cache_dir
    )
    with client:
        client.fetch_initial_config()
        supervisor = Supervisor(plan)
        client.on_change()(lambda change: supervisor.check(change.new.config))
        changes = client.changes()
        supervisor.start(client.config)
        client.start_listening()
        threading.Thread(target=supervisor.follow, args=(changes,), daemon=True).start()
        return supervisor.wait()


class Supervisor:
    """Owns the command's process. `wait` runs on the main thread; the others only leave word."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._words: queue.SimpleQueue[Change | signal.Signals | subprocess.Popen[bytes]] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes]
        self._given: Mapping[str, str] = {}

    def check(self, config: Mapping[str, Any]) -> None:
        """Raises ValueError for what could not be given to the command; so the client rejects it."""
        if self._plan.file is None or self._plan.file.suffix == ".env":
            variables(config, self._plan.prefix)

    def start(self, config: Mapping[str, Any]) -> None:
        for number in _FORWARDED:
            signal.signal(number, self._on_signal)
        self._hand_over(config)
        self._launch()

    def follow(self, changes: Iterable[Change]) -> None:
        for change in changes:
            self._words.put(change)

    def wait(self) -> int:
        while True:
            word = self._words.get()
            if isinstance(word, Change):
                self._apply(word)
            elif isinstance(word, signal.Signals):
                self._process.send_signal(word)
            elif word is self._process:  # not one that was replaced
                code = word.returncode
                return code if code >= 0 else 128 - code

    def _apply(self, change: Change) -> None:
        before = self._given
        self._hand_over(change.new.config)
        if self._plan.file is None and self._given == before:
            return
        if self._plan.on_change == "signal":
            self._process.send_signal(self._plan.signal)
        elif self._plan.on_change == "restart" and self._process.poll() is None:
            _say(f"configuration {change.new.version[:12]}: restarting {self._plan.command[0]}")
            self._end()
            self._launch()

    def _hand_over(self, config: Mapping[str, Any]) -> None:
        """Into the file, or the environment of the next start."""
        file = self._plan.file
        if file is None:
            self._given = variables(config, self._plan.prefix)
        elif file.suffix == ".env":
            write_private(file, lines(variables(config, self._plan.prefix)))
        else:
            write_private(file, json.dumps(config, ensure_ascii=False, indent=2) + "\n")

    def _launch(self) -> None:
        own = {name: value for name, value in os.environ.items() if name not in self._plan.keep_out}
        process = subprocess.Popen(self._plan.command, env={**self._given, **own})  # noqa: S603 - it is what we are for
        self._process = process
        threading.Thread(target=self._await_end, args=(process,), daemon=True).start()

    def _await_end(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._words.put(process)

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(self._plan.grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGINT or not sys.stdin.isatty():  # a terminal's Ctrl-C has reached the command already
            self._words.put(signal.Signals(number))


def write_private(file: Path, text: str) -> None:
    """Whole, or as it was; for its owner alone."""
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(text)
    fresh.replace(file)


def _say(text: str) -> None:
    sys.stderr.write(f"config_client: {text}\n")
