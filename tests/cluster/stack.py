"""What a server stands on, all of it real, and servers on top of it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from devstack.server import READY, Server
from devstack.valkey import Valkey
from tests.cluster.clients import ask
from tests.support import eventually

HOOK_SECRET = "the webhook's own secret"
#: Where a server that is `timed` tells how many greenlets live in the worker that answers.
GREENLETS = "/greenlets"


def timed(**seconds: float) -> str:
    """The same server on other durations (the names of Timings), for `Stack.server`."""
    return f"tests.cluster.timed_app:timed({', '.join(f'{name}={value}' for name, value in seconds.items())})"


#: It waits for Redis and OpenBao, to which nothing happens, or on a busy machine a worker would now and then count its
#: revisions for itself, and tell of secrets that are stale.
PATIENT = timed(redis=10, vault_connect=10, vault_read=10)
#: What takes the server 20 seconds otherwise is seen within one or two. Redis is waited for: nothing happens to it.
BRISK = timed(heartbeat=1, stream_write=1, drain=1, audit_minute=1, redis=10)


class Stack:
    """An origin, Valkey, OpenBao and an issuer, with the key files that servers share. Servers end with it."""

    def __init__(self, directory: Path, bao: Bao, issuer: LocalIssuer, *, valkey: Valkey | None = None) -> None:
        """Without `valkey` it gets its own, which it stops at the end."""
        self._closing = ExitStack()
        self._servers = 0
        self.directory = directory
        self.bao, self.issuer = bao, issuer
        self.origin = OriginRepo(directory / "origin")
        if valkey is None:
            valkey = Valkey(directory / "valkey").start()
            self._closing.callback(valkey.close)
        self.valkey = valkey
        self.key_file, self.hook_file = directory / "key", directory / "hook"
        self.key_file.write_text("k" * 40)
        self.hook_file.write_text(HOOK_SECRET)
        self.admin = issuer.token(sub="admin", scope="config:write")

    def token(self, service: str) -> str:
        """A token of a service that reads its own configuration."""
        return self.issuer.token(sub=service, scope="config:read", service=service)

    def server(self, *, application: str = "wsgi:app", options: str = "", **settings: str) -> Server:
        """A host of its own with two workers, not yet started; a setting that is given empty is left out. The options
        are gunicorn's."""
        self._servers += 1
        directory = self.directory / f"host-{self._servers}"
        common = {
            "REPO_URL": self.origin.url,
            "JWT_ISSUER": self.issuer.url,
            "JWT_AUDIENCE": self.issuer.audience,
            "JWT_JWKS_URL": self.issuer.jwks_url,
            "REDIS_URL": self.valkey.url,
            "NAMESPACE": self.directory.name,
            "KEY_FILE": str(self.key_file),
            "WORKERS": "2",
            "VAULT_ADDR": self.bao.address,
            "VAULT_ROLE_ID": self.bao.role_id,
            "VAULT_SECRET_ID": self.bao.secret_id(),
            "SECRET_WATCH_SECONDS": "1",
            "WEBHOOK_SECRET_FILE": str(self.hook_file),
            "METRICS": "public",
            # The drain is spread over streams, and gunicorn's patience with it.
            "STREAMS_PER_WORKER": "1000",
        }
        given = {name: value for name, value in {**common, **settings}.items() if value}
        server = Server(directory, given, application=application, gunicorn_options=options)
        self._closing.callback(server.close)
        return server

    def refresh(self, server: Server) -> httpx.Response:
        """Ask for a fetch. The answer comes when one worker has installed it; the others of the server follow."""

        def fetched() -> httpx.Response | None:
            answer = ask(server, "/v1/admin/refresh", self.admin, "POST").raise_for_status()
            return answer if answer.json()["fetched"] else None  # a fetch that takes long goes on without an answer

        answer = eventually(fetched, timeout=60)
        assert answer is not None
        epoch, _, number = answer.json()["rev"].rpartition(".")

        def everywhere() -> bool:
            revs = [rev.rpartition(".") for rev in server.installed.values()]
            return all(mine != epoch or int(reached) >= int(number) for mine, _, reached in revs)

        eventually(everywhere)
        return answer

    def hook(self, server: Server) -> httpx.Response:
        """What a Git server sends after a push."""
        body = b'{"ref": "refs/heads/main"}'
        signature = hmac.new(HOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {"X-Hub-Signature-256": f"sha256={signature}"}
        return ask(server, "/hooks/git", None, "POST", content=body, headers=headers).raise_for_status()

    def close(self) -> None:
        self._closing.close()


@contextmanager
def running(server: Server, *, until: str | None = READY) -> Iterator[Server]:
    """Start it, and stop it at the end of the test."""
    try:
        yield server.start(until=until)
    finally:
        server.close()
