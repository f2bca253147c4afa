"""A whole server in this process for a test: ConfigServer over a fresh origin, on short durations, and a client."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import httpx

from app import ConfigServer
from app.settings import Timings
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from tests.support import whole_lines

Files: TypeAlias = Mapping[str, str | bytes | None]

#: Everything that a test may have to wait for, at a fraction of its length; but for the deadlines of what answers: they
#: cost nothing when they are met, and the machine may be busy.
BRISK = Timings(
    follow=0.02,
    head_check=0.2,
    heartbeat=0.3,
    redis=10.0,
    vault_connect=10.0,
    vault_read=10.0,
    breaker_open=0.2,
    confirm_rewrite=0.1,
    catch_up=0.3,
    retry_first=0.05,
    hint_retries=(),
    lock_retry=0.05,
    drain=0.2,
)
#: Where Vault hangs, and each read waits for it.
VAULT_HANGS = replace(BRISK, vault_connect=0.5, vault_read=0.5)
#: Longer than any test: what a server does by itself each so many seconds, tests let it do by hand.
NEVER = 3600.0
_names = itertools.count()
#: Who may read every secret, and refresh.
EVERYTHING = "config:read:*/* config:write"
READ_ALL = "config:read:*/*"
VIEW_ALL = "config:view:*/*"


class Vault(Protocol):
    """A Bao, or what stands before one."""

    address: str

    @property
    def role_id(self) -> str: ...

    def secret_id(self) -> str: ...


@dataclass
class Serving:
    """A running server, the origin that it follows, and the issuer that it trusts."""

    server: ConfigServer
    origin: OriginRepo
    issuer: LocalIssuer
    _client: httpx.Client

    def new_service(self) -> str:
        """The name of a service that no other test uses, of any server: they may share an OpenBao."""
        return f"service{next(_names)}"

    def token(self, scope: str = READ_ALL, **claims: Any) -> str:
        return self.issuer.token(scope=scope, **claims)

    def ask(self, path: str, *, token: str | None = None, method: str = "GET", **options: Any) -> httpx.Response:
        """One request as it stands; `token` None sends one that may read everything, "" sends none."""
        token = self.token() if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self._client.request(method, path, headers={**headers, **options.pop("headers", {})}, **options)

    def get(
        self, coordinates: str, *, token: str | None = None, headers: Mapping[str, str] | None = None, **query: Any
    ) -> httpx.Response:
        """GET /v1/config/`coordinates`, such as `pay/prod` or `pay/prod/logback.xml`."""
        return self.ask(f"/v1/config/{coordinates}", token=token, headers=dict(headers or {}), params=query)

    def body(self, coordinates: str, **query: Any) -> dict[str, Any]:
        """The JSON of a read that succeeds."""
        answer = self.get(coordinates, **query)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def config(self, coordinates: str, **query: Any) -> Any:
        return self.body(coordinates, **query)["config"]

    def revisions(
        self, coordinates: str, *, most: int = 100, token: str | None = None, cursor: str | None = None, **query: Any
    ) -> list[dict[str, Any]]:
        """The newest of its history. Page by page: one that takes long ends early, and on a busy machine any does."""
        found: list[dict[str, Any]] = []
        while len(found) < most:
            asked = {**query, "limit": most, **({"cursor": cursor} if cursor else {})}
            answer = self.ask(f"/v1/history/{coordinates}", token=token, params=asked)
            assert answer.status_code == 200, answer.text
            found += answer.json()["revisions"]
            cursor = answer.json()["next"]
            if cursor is None:
                break
        return found[:most]

    def refresh(self) -> httpx.Response:
        """Fetch, and wait until it is installed."""
        return self.ask("/v1/admin/refresh", token=self.token("config:write"), method="POST")

    def trail(self) -> list[str]:
        """The whole lines of the trail, which is being written."""
        files = sorted(self.server.services.settings.audit_path.glob("*.jsonl"))
        return [line for file in files for line in whole_lines(file)]

    def push(self, files: Files, message: str = "a change") -> str:
        """Commit to the current branch of the origin, and wait until the server has it. The id of the commit."""
        commit = self.origin.write(files, message)
        answer = self.refresh()
        assert answer.status_code == 200, answer.text
        return commit


@contextlib.contextmanager
def serving(
    directory: Path, issuer: LocalIssuer, files: Files | None = None, *, vault: Vault | None = None, **settings: Any
) -> Iterator[Serving]:
    """A server over a new origin in `directory` that holds `files` (None: no commit yet)."""
    origin = OriginRepo(directory / "origin")
    if files is not None:
        origin.write(files, "first")
    with serving_origin(directory, issuer, origin, vault=vault, **settings) as running:
        yield running


@contextlib.contextmanager
def serving_origin(
    directory: Path,
    issuer: LocalIssuer,
    origin: OriginRepo,
    *,
    vault: Vault | None = None,
    patience: float = 60,
    **settings: Any,
) -> Iterator[Serving]:
    """A server over an origin that is there; what it keeps is in `directory`/data, for a second one to find.

    `patience` is how long (seconds) a first configuration is waited for.
    """
    with new_server(directory, issuer, settings.pop("repo_url", origin.url), vault=vault, **settings) as server:
        server.start().wait(patience)
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
            yield Serving(server, origin, issuer, client)


def new_server(
    directory: Path, issuer: LocalIssuer, repo_url: str, *, vault: Vault | None = None, **settings: Any
) -> contextlib.closing[ConfigServer]:
    """A ConfigServer that is not started yet."""
    given: dict[str, Any] = {
        "jwt_issuer": issuer.url,
        "jwt_audience": (issuer.audience,),
        "jwt_jwks_url": issuer.jwks_url,
        "data_dir": directory / "data",
        "bind": "127.0.0.1:0",
        "timings": BRISK,
        "poll_seconds": NEVER,
        "secret_watch_seconds": NEVER,
    }
    if vault is not None:
        given |= {"vault_addr": vault.address, "vault_role_id": vault.role_id, "vault_secret_id": vault.secret_id()}
        given["vault_mounts"] = {"kv": ("secret", 2), "old": ("kv1", 1)}
    return contextlib.closing(ConfigServer(repo_url=repo_url, **{**given, **settings}))
