"""`python -m config_client run`: a command gets its configuration, and is restarted or signalled when it changes."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devstack.processes import end
from tests.client.support import ENVIRONMENT, Shop
from tests.support import eventually

#: Appends a line of what it was given to a file, at its start and at each SIGHUP; ends with 7 at SIGTERM.
CHILD = """
import json, os, signal, sys
known = {signal.SIGHUP, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, known)  # they wait until they are asked for, so that none is lost
def told():
    with open(sys.argv[1], "a") as log:
        names = {name: os.environ.get(name) for name in ("DB_POOL", "LOG", "CONFIG_CLIENT_TOKEN")}
        log.write(json.dumps([os.getpid(), names]) + "\\n")
told()
while signal.sigwait(known) == signal.SIGHUP:
    told()
sys.exit(7)
"""


class Told:
    """What the command has written."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def lines(self, count: int) -> list[tuple[int, dict[str, str | None]]]:
        return eventually(lambda: found if len(found := self._whole()) >= count else [], timeout=60)

    def _whole(self) -> list[tuple[int, dict[str, str | None]]]:
        """Without a line that is being written."""
        written = self.file.read_text() if self.file.exists() else ""
        return [tuple(json.loads(line)) for line in written.split("\n")[:-1]]


@contextmanager
def running(shop: Shop, service: str, told: Path, *options: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "config_client", "run", *options, "--env", "production", service, "--"]
    given = {"CONFIG_CLIENT_URL": shop.url, "CONFIG_CLIENT_TOKEN": shop.token(service), **env}
    process = subprocess.Popen([*command, sys.executable, "-c", CHILD, str(told)], env={**ENVIRONMENT, **given})
    try:
        yield process
    finally:
        end(process, timeout=30)


@pytest.mark.slow
def test_a_command_gets_variables_and_is_restarted_when_they_change(shop: Shop, tmp_path: Path) -> None:
    service = shop.new_service("db: {pool: 5}\n")
    told = Told(tmp_path / "told")
    with running(shop, service, told.file, LOG="as it was set") as process:
        ((first, given),) = told.lines(1)
        assert given == {"DB_POOL": "5", "LOG": "as it was set", "CONFIG_CLIENT_TOKEN": None}
        shop.change(service, "db: {pool: 5}\n# a comment\n")
        shop.change(service, "db: {pool: 9}\n")
        _, (second, given) = told.lines(2)
        assert given["DB_POOL"] == "9"
        assert second != first
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 7


@pytest.mark.slow
def test_a_command_with_a_file_is_signalled_and_a_configuration_that_makes_no_variables_is_rejected(
    shop: Shop, tmp_path: Path
) -> None:
    service = shop.new_service("db: {pool: 5}\n")
    told, file = Told(tmp_path / "told"), tmp_path / "service.env"
    with running(shop, service, told.file, "--file", str(file), "--on-change", "signal"):
        ((first, given),) = told.lines(1)
        assert given["DB_POOL"] is None
        assert file.read_text() == "LOG=info\nDB_POOL=5\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        shop.change(service, "db: {pool: 9}\n'db-pool': 1\n")
        rejected = eventually(lambda: _rejection(shop, service), timeout=30)
        assert "both become DB_POOL" in rejected
        shop.change(service, "db: {pool: 9}\n")
        _, (second, _) = told.lines(2)
        assert second == first
        assert file.read_text() == "LOG=info\nDB_POOL=9\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["pay", "--env", "prod"], 2, "no command"),
        (["--env", "prod", "pay", "--", "true"], 2, "no server"),
        (["--env", "prod", "--server", "http://127.0.0.1:9", "pay", "--", "true"], 2, "no token"),
        (["--env", "p", "--server", "ftp://x", "--token-file", "/nope", "pay", "--", "true"], 69, "not the address"),
    ],
    ids=["command", "server", "token", "address"],
)
def test_what_is_missing_is_said(arguments: list[str], code: int, says: str) -> None:
    command = [sys.executable, "-m", "config_client", "run", *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr


@pytest.mark.slow
def test_the_exit_code_of_the_command_is_ours(shop: Shop) -> None:
    service = shop.new_service()
    command = [sys.executable, "-m", "config_client", "run", "--env", "production", service, "--"]
    env = {**ENVIRONMENT, "CONFIG_CLIENT_URL": shop.url, "CONFIG_CLIENT_TOKEN": shop.token(service)}
    codes = [
        subprocess.run([*command, *each], env=env, capture_output=True, check=False).returncode
        for each in (["sh", "-c", "exit 3"], ["sh", "-c", "kill -9 $$"], ["no-such-command"])
    ]
    assert codes == [3, 137, 127]


def _rejection(shop: Shop, service: str) -> str:
    instances = shop.serving.ask(f"/v1/admin/instances?service={service}").json()["instances"]
    rejected = instances[0]["rejected"] if instances else None
    return str(rejected["reason"]) if rejected else ""
