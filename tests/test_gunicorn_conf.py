"""config/gunicorn.conf.py under a real gunicorn, with a small application of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.settings import Timings
from devstack.processes import free_port
from tests.support import eventually

#: Several servers start one after the other, and a busy machine takes ten times as long.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "config" / "gunicorn.conf.py")]
Settings = dict[str, str]
#: What no server starts without; the application of these tests uses none of it.
REQUIRED = {
    "CONFIG_SERVER_REPO_URL": "https://git.example/config.git",
    "CONFIG_SERVER_JWT_ISSUER": "https://issuer.example",
    "CONFIG_SERVER_JWT_AUDIENCE": "config-server",
    "CONFIG_SERVER_JWT_JWKS_URL": "https://issuer.example/jwks.json",
    "CONFIG_SERVER_KEY_FILE": str(Path(__file__)),
}


def environment(data: Path, **settings: str) -> Settings:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("CONFIG_SERVER_", "PROM"))}
    given = {f"CONFIG_SERVER_{name}": value for name, value in settings.items()}
    return {**inherited, **REQUIRED, "CONFIG_SERVER_DATA_DIR": str(data), **given}


class Server:
    """A running gunicorn of two workers."""

    def __init__(self, directory: Path) -> None:
        port = free_port()
        self.data = directory / "data"
        self.output = directory / "output"
        self.key = directory / "key"
        self.key.write_text("k" * 40)
        settings = {"BIND": f"127.0.0.1:{port}", "WORKERS": "2", "REDIS_URL": "redis://unused"}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*COMMAND, "tests.gunicorn_app:app"],
                env=environment(self.data, **settings, KEY_FILE=str(self.key)),
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> httpx.Response:
        # A connection per request, so that both workers get some.
        return httpx.get(self.url + path, headers={"Connection": "close"}, timeout=30, verify=False)

    def answers(self) -> bool:
        try:
            return self.get("/who").status_code == 200
        except httpx.TransportError:
            return False

    def workers(self) -> dict[str, int]:
        """Slot → process id, once both have answered."""
        seen: dict[str, int] = {}

        def both() -> bool:
            if self.answers():
                answer = self.get("/who").json()
                seen[answer["slot"]] = answer["pid"]
            return len(seen) == 2

        eventually(both, timeout=60)
        return seen

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_text().splitlines()]

    def total(self, series: str) -> float:
        samples = (line.rsplit(" ", 1) for line in self.get("/metrics").text.splitlines())
        return next((float(value) for name, value in samples if name == series), 0.0)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Server]]:
    servers: list[Server] = []

    def started() -> Server:
        directory = tmp_path / str(len(servers))
        directory.mkdir()
        servers.append(Server(directory))
        return servers[-1]

    yield started
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(60)


REQUESTS = 'config_server_http_request_duration_seconds_count{method="GET",route="/who",status="200"}'


def test_a_killed_worker_leaves_its_slot_and_its_counts(start: Callable[[], Server]) -> None:
    server = start()
    before = server.workers()
    assert set(before) == {"0", "1"}
    counted = server.total(REQUESTS)
    assert counted >= 2
    os.kill(before["0"], signal.SIGKILL)
    eventually(lambda: f"counter_{before['0']}.db" not in server.get("/files").json(), timeout=60)
    assert server.total(REQUESTS) >= counted
    after = server.workers()
    assert after["1"] == before["1"]
    assert after["0"] not in before.values()


def test_every_line_is_json_and_the_directory_goes_with_the_server(start: Callable[[], Server]) -> None:
    server = start()
    server.workers()
    assert server.stop() == 0
    lines = server.lines()
    assert {"gunicorn.error", "app"} <= {line["log.logger"] for line in lines}
    assert any(line["message"].startswith("Listening at") for line in lines)
    assert list((server.data / "metrics").iterdir()) == []


def test_a_reload_goes_on_counting_and_every_living_worker_has_a_slot_of_its_own(start: Callable[[], Server]) -> None:
    server = start()
    before = set(server.workers().values())
    counted = server.total(REQUESTS)
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: not before & set(server.workers().values()), timeout=60)
    assert server.total(REQUESTS) > counted
    assert len(list((server.data / "metrics").iterdir())) == 1
    assert server.stop() == 0


def test_a_reload_with_settings_that_have_become_wrong_leaves_everything_as_it_is(start: Callable[[], Server]) -> None:
    server = start()
    before = server.workers()
    server.key.unlink()
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: "Not reloaded" in server.output.read_text(), timeout=60)
    assert "CONFIG_SERVER_KEY_FILE" in server.output.read_text()
    assert server.workers() == before
    server.key.write_text("k" * 40)
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: not set(before.values()) & set(server.workers().values()), timeout=60)
    assert server.stop() == 0


def test_what_a_killed_server_left_is_removed_by_the_next_start_and_what_a_living_one_has_is_not(
    tmp_path: Path,
) -> None:
    held = (
        "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), 2); print(); sys.stdin.read()"
    )
    base = tmp_path / "metrics"
    (base / "run-dead").mkdir(parents=True)
    (base / "run-dead" / "counter_1.db").write_bytes(b"")
    (base / "run-living").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", held, str(base / "run-living" / "owner")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as living:
        assert living.stdout is not None
        living.stdout.readline()
        done = checked(environment(tmp_path))
        living.communicate()
    assert done.returncode == 0, done.stderr
    names = {path.name for path in base.iterdir()}
    assert "run-dead" not in names
    assert "run-living" in names


def checked(settings: Settings) -> subprocess.CompletedProcess[str]:
    """What gunicorn says of the configuration, without serving."""
    return subprocess.run(
        [*COMMAND, "--print-config", "tests.gunicorn_app:app"],
        env=settings,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_settings_become_gunicorns(tmp_path: Path) -> None:
    done = checked(environment(tmp_path, BIND="127.0.0.1:9", STREAMS_PER_WORKER="2000"))
    assert done.returncode == 0, done.stderr
    told = dict(line.split("=", 1) for line in done.stdout.replace(" ", "").splitlines() if "=" in line)
    assert told["bind"] == "['127.0.0.1:9']"
    assert told["workers"] == "1"
    assert told["worker_connections"] == "3000"
    assert told["graceful_timeout"] == "20"
    assert (told["max_requests"], told["control_socket_disable"], told["accesslog"]) == ("0", "True", "None")
    assert int(told["keepalive"]) >= 2
    assert told["forwarded_allow_ips"] == "[]"
    assert told["forwarder_headers"] == "[]"


@pytest.mark.parametrize("streams", [1, 1000, 1400, 10_000])
def test_the_patience_at_the_end_is_the_spread_of_the_goodbyes_of_so_many_streams_and_ten_seconds(
    tmp_path: Path, streams: int
) -> None:
    done = checked(environment(tmp_path, STREAMS_PER_WORKER=str(streams)))
    assert done.returncode == 0, done.stderr
    told = dict(line.split("=", 1) for line in done.stdout.replace(" ", "").splitlines() if "=" in line)
    assert int(told["graceful_timeout"]) == max(Timings().drain, streams / 200) + 10


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"WORKERS": "2"}, "needs CONFIG_SERVER_REDIS_URL"),
        ({"WORKERS": "none"}, "CONFIG_SERVER_WORKERS: is not a whole number"),
        ({"STREAMS_PER_WORKER": "0"}, "CONFIG_SERVER_STREAMS_PER_WORKER: is not a whole number"),
        ({"LOG_LEVEL": "loud"}, "CONFIG_SERVER_LOG_LEVEL: choose from"),
        ({"DATA_DIR": "/proc/nowhere"}, "CONFIG_SERVER_DATA_DIR"),
    ],
)
def test_settings_that_cannot_work_stop_the_start_with_one_sentence(
    tmp_path: Path, settings: Settings, words: str
) -> None:
    done = checked(environment(tmp_path, **settings))
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
