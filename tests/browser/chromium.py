"""A headless Chromium, and pages in it that are driven over its DevTools protocol."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx
from websockets.protocol import State
from websockets.sync.client import connect

from devstack.processes import end, launch, wait_ready
from tests.support import eventually

FLAGS = (
    "--headless",
    "--no-sandbox",  # the sandbox does not work for root; the only pages are our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-breakpad",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--no-first-run",
    "--remote-debugging-port=0",
)
#: Of all that our pages say, the longest is a list of frames.
_MAX_MESSAGE = 16 * 1024 * 1024


class Chromium:
    """One browser with a profile of its own in `directory`. It reaches nothing but what its pages ask for."""

    def __init__(self, directory: Path) -> None:
        self._profile = directory / "profile"
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it and wait until it can be driven. Raises NotReady."""
        program = shutil.which("chromium")
        assert program, "there is no Chromium here: sh devstack/packages.sh tests"
        command = [program, *FLAGS, f"--user-data-dir={self._profile}", "about:blank"]
        self._process = launch(command, self._log, cwd=self._log.parent, env=os.environ)
        wait_ready("Chromium", lambda: bool(self._port), self._process, self._log, timeout=60)
        return self

    def open(self, url: str) -> Page:
        """A page of its own, loaded."""
        target = self._ask("PUT", f"/json/new?{url}").json()
        return Page(target["webSocketDebuggerUrl"], url)

    def close(self) -> None:
        if self._process is not None:
            end(self._process, timeout=10)
            self._process = None

    @property
    def _port(self) -> str:
        """Where its DevTools listen; empty until it has written that line down."""
        told = self._profile / "DevToolsActivePort"
        port, end_of_line, _ = told.read_text().partition("\n") if told.exists() else ("", "", "")
        return port if end_of_line else ""

    def _ask(self, method: str, path: str) -> httpx.Response:
        with httpx.Client(trust_env=False, timeout=60) as client:
            return client.request(method, f"http://127.0.0.1:{self._port}{path}").raise_for_status()


class Page:
    """A tab. It calls functions of its page by name, with values that JSON can carry, and waits for promises."""

    def __init__(self, devtools: str, url: str) -> None:
        self._closing = ExitStack()
        self._connection = self._closing.enter_context(
            connect(devtools, proxy=None, compression=None, max_size=_MAX_MESSAGE, ping_interval=None, open_timeout=30)
        )
        self._numbers = itertools.count(1)
        eventually(lambda: self._is_at(url), timeout=30)

    def call(self, function: str, *arguments: Any) -> Any:
        """What the page's function returns. Fails with what it throws."""
        return self._evaluate(f"{function}({', '.join(map(json.dumps, arguments))})")

    def read(self, expression: str) -> Any:
        return self._evaluate(expression)

    def close(self) -> None:
        """The page goes away, and its streams with it."""
        if self._connection.state is State.OPEN:
            self._send("Page.close")
            self._closing.close()

    def _is_at(self, url: str) -> bool:
        """Whether it is loaded. The blank page that it is at first may go away under the question."""
        try:
            return bool(self._evaluate(f"location.href === {json.dumps(url)} && document.readyState") == "complete")
        except AssertionError:
            return False

    def _evaluate(self, expression: str) -> Any:
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self._send("Runtime.evaluate", **asked)
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(timeout=60))
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
