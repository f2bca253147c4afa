"""What is measured: a real server on a real Git origin, with an identity provider and, for several workers, Valkey."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.wire import Opening
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo, git
from devstack.server import Server
from devstack.valkey import Valkey

_HOOK_SECRET = "the webhook's own secret"  # noqa: S105 - of a server that lives for minutes
_PATIENCE = 30.0
_START = 120.0
_HOOK_BODY = b'{"ref": "refs/heads/main"}'


class Closing:
    """A context manager: ends with the block what it has started, and tells what `server` said last if that failed."""

    server: Server

    def __init__(self) -> None:
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(f"the server's last words:\n{self.server.output()[-2000:]}")
        self._closing.close()


class Served(Closing):
    """A started server on the origin at `url`, which hears of changes by the webhook alone. A context manager."""

    def __init__(
        self, directory: Path, url: str, settings: Mapping[str, str], *, streams: int, workers: int = 1
    ) -> None:
        """`streams`: how many each worker is set up for. Several workers get a Valkey."""
        super().__init__()
        self._workers = workers
        self._former = ""  # the revision that was installed before the last webhook
        self.issuer = self._closing.enter_context(LocalIssuer())
        for name, text in {"hook": _HOOK_SECRET, "key": "k" * 40}.items():
            (directory / name).write_text(text)
        common = {
            "REPO_URL": url,
            "JWT_ISSUER": self.issuer.url,
            "JWT_AUDIENCE": self.issuer.audience,
            "JWT_JWKS_URL": self.issuer.jwks_url,
            "WEBHOOK_SECRET_FILE": str(directory / "hook"),
            "KEY_FILE": str(directory / "key"),
            "METRICS": "public",
            "POLL_SECONDS": "3600",  # changes come at a moment that we know
            "WORKERS": str(workers),
            "STREAMS_PER_WORKER": str(streams),
        }
        if workers > 1:
            valkey = Valkey(directory / "valkey").start()
            self._closing.callback(valkey.close)
            common["REDIS_URL"] = valkey.url
        self.server = Server(directory / "server", {**common, **settings})
        self._closing.callback(self.server.close)
        try:
            self.server.start(timeout=_START)
        except BaseException:
            self._closing.close()
            raise

    @property
    def worker(self) -> int:
        """The process id of the (first) worker."""
        return self.server.workers[0]

    def hook(self) -> float:
        """Tell the server, as a Git server does; when it was told (monotonic seconds)."""
        self._former = self._installs()[-1]["rev"]
        signature = hmac.new(_HOOK_SECRET.encode(), _HOOK_BODY, hashlib.sha256).hexdigest()
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        began = time.monotonic()
        connection.request("POST", "/hooks/git", _HOOK_BODY, {"X-Hub-Signature-256": f"sha256={signature}"})
        status = connection.getresponse().status
        connection.close()
        if status != 202:
            raise RuntimeError(f"the webhook was answered with {status}")
        return began

    def install_seconds(self) -> float:
        """How long the slowest worker was busy with what the last webhook brought until it had woken all.

        As its log tells; waits until each worker has said so.
        """
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            lines = self._installs()
            told = [float(line["seconds"]) for line in lines if line["rev"] == lines[-1]["rev"]]
            if lines[-1]["rev"] != self._former and len(told) >= self._workers:
                return max(told)
            time.sleep(0.02)
        raise RuntimeError("not every worker has installed what the webhook brought")

    def _installs(self) -> list[dict[str, Any]]:
        return [line for line in self.server.log_lines() if line.get("message") == "world.installed"]


class Stage(Served):
    """A started server with `topics` services that share one application.yml. A context manager."""

    def __init__(self, directory: Path, *, topics: int, streams: int, workers: int = 1) -> None:
        self._topics = topics
        self.origin = OriginRepo(directory / "origin")
        self.origin.write({"application.yml": _shared("r-0"), **{_file(n): _own(n) for n in range(topics)}})
        super().__init__(directory, self.origin.url, {"ENVS": "prod"}, streams=streams, workers=workers)

    def openings(self, count: int, kind: Callable[[str, str, str], Opening]) -> list[Opening]:
        """Connections of `count` different subjects, spread over the topics."""
        made = []
        for number in range(count):
            service = _service(number % self._topics)
            token = self.issuer.token(f"client-{number}", "config:read", service, algorithm="ES256", lifetime=7200)
            made.append(kind(token, f"{service}/prod/main", f"instance-{number}"))
        return made

    def service(self, number: int) -> str:
        """The name of the service of a topic; its env is `prod`."""
        return _service(number)

    def push(self, marker: str) -> None:
        """A commit that changes every topic, at the origin; the server does not know of it yet."""
        self.commit(marker)
        self.origin.push()

    def commit(self, marker: str) -> None:
        """The same, made and not pushed."""
        (self.origin.work / "application.yml").write_text(_shared(marker))
        git(self.origin.work, "commit", "--quiet", "--all", "-m", marker)


def _service(number: int) -> str:
    return f"service-{number:03}"


def _file(number: int) -> str:
    return f"{_service(number)}.yml"


def _shared(marker: str) -> str:
    """What all services have, and the value by which a change is known when it arrives."""
    lines = [f"    setting-{n:02}: value number {n} of all services" for n in range(25)]
    return "\n".join([f"release: {marker}", "common:", "  defaults:", *lines, ""])


def _own(number: int) -> str:
    lines = [f"    pool-{n:02}: {{size: {10 + n}, timeout: {n}.5}}" for n in range(15)]
    return "\n".join([f"name: {_service(number)}", "db:", "  pools:", *lines, ""])
