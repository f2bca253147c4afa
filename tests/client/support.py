"""What the tests of the client share: a shop of services, and clients that do in a second what takes a minute."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from config_client import Timings
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo, git
from devstack.processes import plain_environment
from devstack.server import ROOT, Server
from tests.client.both import Client
from tests.serving import Serving
from tests.support import eventually

#: Everything that a test may have to wait for, at a fraction of its length; but what is answered may take a while, on a
#: busy machine.
FAST = Timings(
    initial=60,
    connect=15,
    request=30,
    repoll=60,
    poll=0.2,
    long_poll=2,
    backoff=0.1,
    backoff_most=0.5,
    climb=0.5,
    climb_most=1,
    unconfirmed=30,
)
#: Of a program of the client's: ours, and where the client lies.
ENVIRONMENT = {**plain_environment(without=("CONFIG_", "PYTHON")), "PYTHONPATH": str(ROOT / "client")}


def await_transport(client: Client, by: str) -> None:
    """`by` "" waits until the stream is lost."""
    eventually(lambda: client.reading.transport == by, timeout=30)


def await_value(client: Client, key: str, value: Any) -> None:
    eventually(lambda: client.reading.get(key) == value, timeout=30)


@dataclass
class Shop:
    """A running server, and what a client of one of its services is given."""

    serving: Serving

    @property
    def url(self) -> str:
        return self.serving.server.url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def new_service(self, text: str = "db: {pool: 5}\n") -> str:
        """A service with one file, which the server has installed."""
        service = self.serving.new_service()
        self.change(service, text)
        return service

    def change(self, service: str, text: str) -> str:
        return self.serving.push({f"{service}-production.yml": text}, f"{service}: a change")

    def token(self, service: str, **claims: Any) -> str:
        return self.serving.issuer.token(sub=service, scope="config:read", service=service, **claims)

    def arguments(self, service: str, **more: Any) -> dict[str, Any]:
        """Of ConfigClient and SyncConfigClient."""
        given = {"config_server_url": self.url, "service_name": service, "env": "production"}
        return {**given, "auth_token": self.token(service), "timings": FAST, **more}


@dataclass
class Office:
    """A server in processes of its own, which may write to its origin, and whoever asks it."""

    server: Server
    origin: OriginRepo
    issuer: LocalIssuer
    _names: Iterator[int] = field(default_factory=itertools.count)

    def new_service(self, text: str) -> str:
        service = f"till{next(self._names)}"
        self.change(service, text)
        return service

    def change(self, service: str, text: str) -> str:
        return self.push({f"{service}-production.yml": text}, f"{service}: a change")

    def push(self, files: Mapping[str, str], message: str) -> str:
        """Commit, and wait until the server has it."""
        git(self.origin.work, "pull", "--quiet", "--ff-only", "origin", "main")  # what the server has pushed meanwhile
        commit = self.origin.write(files, message)
        self.ask("/v1/admin/refresh", "POST").raise_for_status()
        return commit

    @property
    def head(self) -> str:
        return git(self.origin.bare, "rev-parse", "main")

    def ask(self, path: str, method: str = "GET") -> httpx.Response:
        token = self.issuer.token(scope="config:read:*/* config:write")
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=self.server.url, trust_env=False, timeout=30, headers=headers) as client:
            return client.request(method, path)

    def instance(self, service: str) -> dict[str, Any]:
        """The first that is known; empty before any is."""
        return dict(next(iter(self.instances(service)), {}))

    def instances(self, service: str) -> list[Any]:
        return list(self.ask(f"/v1/admin/instances?service={service}").json()["instances"])
