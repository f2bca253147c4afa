"""ConfigServer as a library, as its users know it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from app import ConfigServer
from app.errors import AuditUnavailable, SettingsError
from devstack.bao import Bao
from devstack.issuer import LocalIssuer
from devstack.origin import OriginRepo
from tests.support import eventually


@pytest.fixture
def origin(tmp_path: Path) -> OriginRepo:
    repo = OriginRepo(tmp_path / "origin")
    repo.write({"pay.yml": "n: 1\npassword: ${vault:kv/services/pay/prod/db#password}\n"})
    return repo


@pytest.fixture
def surroundings(tmp_path: Path, issuer: LocalIssuer, bao: Bao, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the call does not give comes from the environment."""
    bao.put("services/pay/prod/db", {"password": "s3cret"})
    given = {
        "JWT_ISSUER": issuer.url,
        "JWT_AUDIENCE": issuer.audience,
        "JWT_JWKS_URL": issuer.jwks_url,
        "DATA_DIR": str(tmp_path / "data"),
        "BIND": "127.0.0.1:0",
        "VAULT_ROLE_ID": bao.role_id,
        "VAULT_SECRET_ID": bao.secret_id(),
    }
    for name, value in given.items():
        monkeypatch.setenv(f"CONFIG_SERVER_{name}", value)


def threads() -> set[threading.Thread]:
    """Those that are alive, but for what the issuer answers with, which ends when it likes."""
    return {each for each in threading.enumerate() if each.is_alive() and "process_request_thread" not in each.name}


def ask(server: ConfigServer, issuer: LocalIssuer) -> httpx.Response:
    bearer = {"Authorization": f"Bearer {issuer.token(scope='config:read', service='pay')}"}
    return httpx.get(f"{server.url}/v1/config/pay/prod", headers=bearer, trust_env=False, timeout=30)


@pytest.mark.usefixtures("surroundings")
def test_the_snippet_runs_as_it_stands(origin: OriginRepo, bao: Bao, issuer: LocalIssuer) -> None:
    registry = CollectorRegistry()

    async def main() -> httpx.Response:
        server = ConfigServer(repo_url=origin.url, vault_addr=bao.address, metrics_manager=registry)
        await server.start()
        try:
            return await asyncio.to_thread(ask, server, issuer)
        finally:
            server.close()

    answer = asyncio.run(main())

    assert answer.json()["config"] == {"n": 1, "password": "s3cret"}


@pytest.mark.usefixtures("surroundings")
def test_synchronous_code_may_ignore_what_start_returns(origin: OriginRepo, bao: Bao, issuer: LocalIssuer) -> None:
    registry = CollectorRegistry()
    server = ConfigServer(repo_url=origin.url, vault_addr=bao.address, metrics_manager=registry)
    server.start()
    try:
        assert server.wait_ready(60)
        assert ask(server, issuer).json()["config"]["password"] == "s3cret"
        assert b"config_server_cursor_seq 1.0" in generate_latest(registry)
        server.start()  # starting twice changes nothing
    finally:
        server.close()


@pytest.mark.usefixtures("surroundings")
def test_two_servers_live_side_by_side_and_leave_no_thread(
    tmp_path: Path, origin: OriginRepo, issuer: LocalIssuer
) -> None:
    before = threads()
    with ConfigServer(repo_url=origin.url) as one, ConfigServer(origin.url, data_dir=tmp_path / "two") as two:
        assert one.url != two.url
        assert {ask(server, issuer).status_code for server in (one, two)} == {422}  # no Vault: nothing good to serve
    assert threads() <= before


@pytest.mark.usefixtures("surroundings")
def test_a_taken_port_is_an_error_and_leaves_nothing_behind(origin: OriginRepo) -> None:
    before = threads()
    registry = CollectorRegistry()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        server = ConfigServer(repo_url=origin.url, bind=bind, metrics_manager=registry)
        with pytest.raises(OSError, match="in use"):
            server.start()
    assert threads() <= before
    with ConfigServer(repo_url=origin.url, metrics_manager=registry) as another:  # the registry is free again
        assert another.services.engine.ready


@pytest.mark.usefixtures("surroundings")
def test_a_part_that_cannot_start_leaves_nothing_behind(tmp_path: Path, origin: OriginRepo) -> None:
    before = threads()
    (tmp_path / "file").write_text("no folder can be made here")
    server = ConfigServer(repo_url=origin.url, audit_dir=tmp_path / "file" / "audit")
    with pytest.raises(AuditUnavailable):
        server.start()
    assert threads() <= before
    with pytest.raises(RuntimeError, match="not started"):
        _ = server.url


@pytest.mark.usefixtures("surroundings")
def test_closing_says_goodbye_and_ends_connections_that_ask_for_nothing(
    origin: OriginRepo, issuer: LocalIssuer
) -> None:
    before = threads()
    bearer = {"Authorization": f"Bearer {issuer.token(scope='config:read', service='pay')}"}
    server = ConfigServer(repo_url=origin.url)
    server.start().wait()
    host, port = server.url.removeprefix("http://").split(":")
    url = f"ws://{host}:{port}/v1/stream"
    with (
        socket.create_connection((host, int(port))) as silent,
        connect(url, subprotocols=[Subprotocol("cfg.v1")], additional_headers=bearer, proxy=None) as stream,
    ):
        silent.sendall(b"GET /health HTTP/1.1\r\n")  # and never the rest
        assert json.loads(stream.recv(30))["type"] == "hello"
        started = time.monotonic()
        server.close()
        assert time.monotonic() - started < 5
        assert json.loads(stream.recv(30))["type"] == "goodbye"
        with pytest.raises(ConnectionClosed):
            stream.recv(30)
        assert stream.close_code == 1012
    eventually(lambda: threads() <= before)


@pytest.mark.usefixtures("surroundings")
def test_a_closed_server_is_not_started_again(origin: OriginRepo) -> None:
    server = ConfigServer(repo_url=origin.url)
    server.start().wait()
    server.close()
    server.close()
    with pytest.raises(RuntimeError, match="closed"):
        server.start()
    never_started = ConfigServer(repo_url=origin.url)
    never_started.close()


@pytest.mark.usefixtures("surroundings")
def test_it_is_an_asynchronous_context_too(origin: OriginRepo, issuer: LocalIssuer) -> None:
    async def main() -> int:
        async with ConfigServer(repo_url=origin.url) as server:
            return (await asyncio.to_thread(ask, server, issuer)).status_code

    assert asyncio.run(main()) == 422


def test_missing_settings_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as failure:
        ConfigServer()
    assert {"REPO_URL", "JWT_ISSUER", "JWT_AUDIENCE"} <= {
        word.removeprefix("CONFIG_SERVER_") for problem in failure.value.problems for word in problem.split()
    }
