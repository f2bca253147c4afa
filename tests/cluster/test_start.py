"""What a start takes: without it the server says why, once and at once; without Redis it is one worker."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

from devstack.processes import plain_environment
from devstack.server import PREFIX, ROOT
from tests.cluster.clients import EventClient, arrived, everywhere, on_each_worker, samples
from tests.cluster.promises import last
from tests.cluster.stack import Stack, running
from tests.support import eventually


def attempt(directory: Path, **settings: str) -> tuple[int, str, float]:
    """Start it as an operator does, where it cannot start: exit code, all that it said, seconds of CPU."""
    env = plain_environment(without=(PREFIX, "PROMETHEUS_"))
    env |= {PREFIX + name: value for name, value in {"DATA_DIR": str(directory / "data"), **settings}.items()}
    command = [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.conf.py", "wsgi:app"]
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=90, check=False)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime - began.ru_utime - began.ru_stime
    return done.returncode, done.stdout + done.stderr, seconds


def complete(**changed: str) -> dict[str, str]:
    return {
        "REPO_URL": os.devnull,
        "JWT_ISSUER": "https://issuer.example.org",
        "JWT_AUDIENCE": "config-server",
        "JWT_JWKS_URL": "https://issuer.example.org/jwks.json",
        "BIND": "127.0.0.1:0",
        **changed,
    }


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        pytest.param({}, ["REPO_URL", "JWT_ISSUER", "JWT_AUDIENCE", "JWT_JWKS_URL"], id="nothing set"),
        pytest.param(
            {"POLL_SECONDS": "often", "KEY_FILE": "/nowhere", "WORKRES": "2"},
            ["REPO_URL", "JWT_ISSUER", "JWT_AUDIENCE", "POLL_SECONDS", "KEY_FILE", "WORKRES"],
            id="some wrong",
        ),
        pytest.param(complete(WORKERS="2"), ["WORKERS=2", "REDIS_URL"], id="two workers without Redis"),
        pytest.param(complete(REDIS_URL="redis://127.0.0.1:1/0"), ["KEY_FILE"], id="Redis without a key"),
    ],
)
def test_settings_that_make_no_server_are_all_named_in_one_message(
    tmp_path: Path, settings: dict[str, str], told: list[str]
) -> None:
    code, said, seconds = attempt(tmp_path, **settings)
    assert code != 0
    assert seconds < 5
    assert all(PREFIX + name in said for name in told), said
    assert "Traceback" not in said
    lines = said.strip().splitlines()
    assert len(lines) <= 2 + len(told), said
    assert "settings do not make a server" in lines[0]


@pytest.mark.slow
def test_without_redis_one_worker_behaves_as_several_do(stack: Stack) -> None:
    stack.origin.write({"pay.yml": "n: 0\n"})
    token = stack.token("pay")
    with running(stack.server(REDIS_URL="", WORKERS="")) as server:
        assert len(server.workers) == 1
        with everywhere(server, token, "pay/prod") as clients:
            waits: dict[str, list[float]] = {"refresh": [], "hook": []}
            for number, (name, announce) in enumerate([("refresh", stack.refresh), ("hook", stack.hook)] * 3):
                version = stack.origin.write({"pay.yml": f"n: {number + 1}\n"})
                announce(server)
                answered = time.monotonic()
                held = arrived(clients, version)
                waits[name].append(last(held, answered))
                assert len({(each.etag, each.rev) for each in held}) == 1
            assert max(map(median, waits.values())) < 1
        seq = int(held[0].rev.rpartition(".")[2])
        eventually(lambda: samples(server)["config_server_cursor_seq"] == seq)  # set when all are told
        server.stop()
        server.start()
        with on_each_worker(server, lambda: EventClient(server, token, {"pay/prod": held[0].etag})) as (client,):
            eventually(lambda: client.told.of("sync"))  # a restart begins a new epoch, and the etag tells as much
            assert [frame["type"] for _, frame in client.told.frames] == ["hello", "subscribed", "sync"]
