"""What reads are measured on: a server of one worker as in production, and beside it one that only returns the bytes.

Fifty services with a document of 4 KB, sixty keys and two secrets in a real OpenBao; five hundred tokens.
"""

from __future__ import annotations

import base64
import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.bare import ANSWERS
from bench.process import pin
from bench.stage import Closing
from devstack.bao import running_bao
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from devstack.server import Server

SERVICES, TOKENS = 50, 500
#: What gunicorn adds to every answer by itself.
_GUNICORNS = frozenset({"server", "date", "connection"})
_BARE = "bench.bare:app"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, ready to be sent: for the whole, and for it if it has changed."""

    whole: str
    if_changed: str


class ReadStage(Closing):
    """The two servers, started, each token verified and each document read once. A context manager."""

    def __init__(self, directory: Path, *, services: int = SERVICES, tokens: int = TOKENS) -> None:
        super().__init__()
        issuer = self._closing.enter_context(LocalIssuer())
        bao = self._closing.enter_context(running_bao())
        origin = OriginRepo(directory / "origin")
        origin.write({f"{_service(number)}.yml": _document(number) for number in range(services)})
        for number in range(services):
            bao.put(f"services/{_service(number)}/prod/db", {"user": f"user-{number}", "password": f"p{number:030}"})
        settings = {
            "REPO_URL": origin.url,
            "ENVS": "prod",
            "JWT_ISSUER": issuer.url,
            "JWT_AUDIENCE": issuer.audience,
            "JWT_JWKS_URL": issuer.jwks_url,
            "VAULT_ADDR": bao.address,
            "VAULT_ROLE_ID": bao.role_id,
            "VAULT_SECRET_ID": bao.secret_id(),
            "METRICS": "public",
            "POLL_SECONDS": "3600",
        }
        self.server = self._started(Server(directory / "server", settings))
        paths = [f"/v1/config/{_service(number % services)}/prod" for number in range(tokens)]
        given = [
            issuer.token(f"client-{number}", "config:read", _service(number % services), lifetime=7200)
            for number in range(tokens)
        ]
        self.asked = self._recorded(directory / "bare" / "data", list(zip(paths, given, strict=True)))
        self.bare = self._started(Server(directory / "bare", settings, application=_BARE), until=paths[0])

    def _started(self, server: Server, until: str | None = None) -> Server:
        self._closing.callback(server.close)
        server.start(until=until) if until else server.start()
        pin(server.workers[0], 0)
        return server

    def _recorded(self, data: Path, calls: list[tuple[str, str]]) -> list[Asked]:
        """Ask for everything once, and write down what the server answers."""
        whole: dict[str, Any] = {}
        unchanged: dict[str, Any] = {}
        asked = []
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        for path, token in calls:
            plain = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
            whole[path], etag = _answer(connection, path, plain, 200)
            conditional = {**plain, "If-None-Match": etag}
            unchanged[path], _ = _answer(connection, path, conditional, 304)
            asked.append(Asked(request_text(path, plain), request_text(path, conditional)))
        connection.close()
        data.mkdir(parents=True)
        (data / ANSWERS).write_text(json.dumps([whole, unchanged]))
        return asked


def _answer(
    connection: http.client.HTTPConnection, path: str, headers: dict[str, str], status: int
) -> tuple[list[Any], str]:
    """As `bench.bare` wants it, and its entity tag."""
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != status:
        raise RuntimeError(f"GET {path} was answered with {answer.status}, not {status}")
    kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _GUNICORNS]
    return [f"{status} {answer.reason}", kept, base64.b64encode(body).decode()], answer.headers["ETag"]


def request_text(path: str, headers: dict[str, str]) -> str:
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""])


def _service(number: int) -> str:
    return f"service-{number:03}"


def _document(number: int) -> str:
    """58 keys and two secrets, 4 KB as it is answered."""
    secrets = f"kv/services/{_service(number)}/prod/db"
    settings = [
        f"    setting-{each:02}: value {each:02} of a service, of a length that most have" for each in range(56)
    ]
    return "\n".join(
        [
            f"name: {_service(number)}",
            "pool: 12",
            "db:",
            f"  user: ${{vault:{secrets}#user}}",
            f"  password: ${{vault:{secrets}#password}}",
            "common:",
            "  defaults:",
            *settings,
            "",
        ]
    )
