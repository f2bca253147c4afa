"""devstack/server.py with a small application: starting, telling workers apart, and ending."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from devstack.processes import NotReady
from devstack.server import Server
from tests.support import eventually

pytestmark = pytest.mark.slow

APPLICATION = "tests.gunicorn_app:app"
SETTINGS = {
    "REPO_URL": "https://git.example.org/configuration.git",
    "JWT_ISSUER": "https://login.example.org",
    "JWT_AUDIENCE": "config-server",
    "JWT_JWKS_URL": "https://login.example.org/keys",
    "WORKERS": "2",
    "STREAMS_PER_WORKER": "100",
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef")
    settings = {**SETTINGS, "REDIS_URL": "redis://unused", "KEY_FILE": str(key)}
    with closing(Server(tmp_path, settings, application=APPLICATION)) as running:
        yield running.start(until="/who")


def both_workers(server: Server) -> list[int]:
    return eventually(lambda: workers if len(workers := server.workers) == 2 else [])


def asked(connection: http.client.HTTPConnection) -> bytes:
    connection.request("GET", "/who")
    return connection.getresponse().read()


def test_the_worker_of_a_connection_is_the_one_that_answers_on_it(server: Server) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        said = asked(connection)
        worker = server.worker_of(connection.sock.getsockname()[1])
    assert f'"pid":{worker}'.encode() in said.replace(b" ", b"")
    assert worker in server.workers
    assert server.worker_of(1) is None


def test_a_killed_worker_is_replaced(server: Server) -> None:
    before = both_workers(server)
    killed = server.kill_worker()
    eventually(lambda: killed not in both_workers(server))
    assert set(before) - set(both_workers(server)) == {killed}


def test_it_ends_in_order_and_leaves_nobody_behind(server: Server) -> None:
    workers = both_workers(server)
    assert server.stop() == 0
    assert not any(psutil.pid_exists(worker) for worker in workers)
    assert any(line["message"].startswith("Listening at") for line in server.log_lines())


def test_settings_that_make_no_server_are_told_at_once(tmp_path: Path) -> None:
    server = Server(tmp_path, SETTINGS, application=APPLICATION)
    with closing(server), pytest.raises(NotReady, match="needs CONFIG_SERVER_REDIS_URL"):
        server.start()
