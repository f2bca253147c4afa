"""What is measured: a real server on a real Git origin, with an identity provider and, for several workers, Valkey."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.wire import Opening
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from devstack.server import Server
from devstack.valkey import Valkey

_HOOK_SECRET = "the webhook's own secret"  # noqa: S105 - of a server that lives for minutes
_HOOK_BODY = b'{"ref": "refs/heads/main"}'


class Stage:
    """A started server with `topics` services that share one application.yml. A context manager."""

    def __init__(self, directory: Path, *, topics: int, streams: int, workers: int = 1) -> None:
        """`streams`: how many each worker is set up for."""
        self._closing = ExitStack()
        self._topics = topics
        self.issuer = self._closing.enter_context(LocalIssuer())
        self.origin = OriginRepo(directory / "origin")
        self.origin.write({"application.yml": _shared("r-0"), **{_file(n): _own(n) for n in range(topics)}})
        for name, text in {"hook": _HOOK_SECRET, "key": "k" * 40}.items():
            (directory / name).write_text(text)
        settings = {
            "REPO_URL": self.origin.url,
            "ENVS": "prod",
            "JWT_ISSUER": self.issuer.url,
            "JWT_AUDIENCE": self.issuer.audience,
            "JWT_JWKS_URL": self.issuer.jwks_url,
            "WEBHOOK_SECRET_FILE": str(directory / "hook"),
            "KEY_FILE": str(directory / "key"),
            "METRICS": "public",
            "POLL_SECONDS": "3600",  # changes come by the webhook, at a moment that we know
            "WORKERS": str(workers),
            "STREAMS_PER_WORKER": str(streams),
        }
        if workers > 1:
            valkey = Valkey(directory / "valkey").start()
            self._closing.callback(valkey.close)
            settings["REDIS_URL"] = valkey.url
        self.server = Server(directory / "server", settings)
        self._closing.callback(self.server.close)
        self.server.start()

    @property
    def worker(self) -> int:
        """The process id of the (first) worker."""
        return self.server.workers[0]

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
        self.origin.write({"application.yml": _shared(marker)})

    def hook(self) -> float:
        """Tell the server, as a Git server does; when it was told (monotonic seconds)."""
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
        """How long the slowest worker was busy with the last revision before it woke anybody, as its log tells."""
        lines = [line for line in self.server.log_lines() if line.get("message") == "world.installed"]
        return max(float(line["seconds"]) for line in lines if line["rev"] == lines[-1]["rev"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(f"the server's last words:\n{self.server.output()[-2000:]}")
        self._closing.close()


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
