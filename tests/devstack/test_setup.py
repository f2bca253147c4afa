"""The scripts that prepare a machine, where the programs they call are stubs that tell how they were called."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from devstack.server import ROOT

#: What a bare machine has beside the programs that the tests put in its place.
TOOLS = ("sh", "cat", "rm", "mktemp", "dirname", "env")


class Machine:
    """A PATH of its own, in `directory`."""

    def __init__(self, directory: Path, user: int = 1000) -> None:
        self._programs = directory / "bin"
        self._programs.mkdir()
        self.calls = directory / "calls"
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None
            (self._programs / tool).symlink_to(found)
        self.add("id", f"echo {user}")

    def add(self, name: str, body: str = "exit 0") -> None:
        program = self._programs / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.calls}\n{body}\n')
        program.chmod(0o755)

    def python(self, version: str, *, new: bool, ensurepip: bool = True) -> None:
        """`python3`, as far as the scripts ask it."""
        self.add(
            "python3",
            f'case "$*" in *version_info*) exit {int(not new)};; *ensurepip*) exit {int(not ensurepip)};; '
            f"--version) echo Python {version};; esac",
        )

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", str(ROOT / "devstack" / script), *arguments]
        env = {"PATH": str(self._programs), "TMPDIR": os.environ.get("TMPDIR", "/tmp")}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    def called(self, name: str) -> list[str]:
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [line for line in lines if line.startswith(name + " ")]


def test_a_machine_that_has_everything_is_left_alone(tmp_path: Path) -> None:
    machine = Machine(tmp_path, user=0)
    machine.python("3.11.2", new=True)
    machine.add("git")
    machine.add("apt-get")
    done = machine.run("packages.sh")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert machine.called("apt-get") == []


def test_root_gets_the_missing_debian_packages(tmp_path: Path) -> None:
    machine = Machine(tmp_path, user=0)
    machine.python("3.11.2", new=True, ensurepip=False)
    machine.add("apt-get")
    done = machine.run("packages.sh")
    assert done.returncode == 0, done.stderr
    assert [call.split()[-2:] for call in machine.called("apt-get") if "install" in call] == [["git", "python3-venv"]]


def test_a_failing_installation_is_told_in_full(tmp_path: Path) -> None:
    machine = Machine(tmp_path, user=0)
    machine.python("3.11.2", new=True)
    machine.add("apt-get", "echo 'no such mirror'; exit 100")
    done = machine.run("packages.sh")
    assert done.returncode == 1
    assert "no such mirror" in done.stderr


def test_who_is_not_root_is_told_what_to_install(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.python("3.11.2", new=True, ensurepip=False)
    machine.add("git")
    machine.add("apt-get")
    done = machine.run("packages.sh")
    assert done.returncode == 1
    assert "sudo apt-get install python3-venv" in done.stderr
    assert machine.called("apt-get") == []


def test_a_machine_that_has_what_the_tests_drive_is_left_alone(tmp_path: Path) -> None:
    machine = Machine(tmp_path, user=0)
    for program in ("chromium", "nginx", "promtool", "node", "npm", "sshd", "ssh-keygen", "apt-get"):
        machine.add(program)
    done = machine.run("packages.sh", "tests")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert machine.called("apt-get") == []


def test_root_gets_what_the_tests_drive_and_no_service_of_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, user=0)
    for program in ("apt-get", "update-rc.d", "invoke-rc.d"):
        machine.add(program)
    done = machine.run("packages.sh", "tests")
    assert done.returncode == 0, done.stderr
    (install,) = [call for call in machine.called("apt-get") if "install" in call]
    assert install.endswith(" chromium nginx prometheus nodejs npm openssh-server openssh-client")
    services = ("nginx", "prometheus", "ssh")
    assert machine.called("update-rc.d") == [f"update-rc.d {service} disable" for service in services]
    assert machine.called("invoke-rc.d") == [f"invoke-rc.d {service} stop" for service in services]


def test_a_service_that_was_there_before_is_not_ended(tmp_path: Path) -> None:
    machine = Machine(tmp_path, user=0)
    for program in ("nginx", "promtool", "node", "npm", "sshd", "apt-get", "update-rc.d", "invoke-rc.d"):
        machine.add(program)
    assert machine.run("packages.sh", "tests").returncode == 0
    assert [call.split()[-2:] for call in machine.called("apt-get") if "install" in call] == [
        ["chromium", "openssh-client"]
    ]
    assert machine.called("update-rc.d") + machine.called("invoke-rc.d") == []


def test_who_is_not_root_is_told_what_the_tests_drive(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.add("apt-get")
    done = machine.run("packages.sh", "tests")
    assert done.returncode == 1
    assert "sudo apt-get install chromium nginx prometheus nodejs npm" in done.stderr
    assert machine.called("apt-get") == []


@pytest.mark.parametrize(("target", "asks"), [("run", False), ("lint", False), ("test", True), ("test-fast", True)])
def test_only_the_tests_ask_for_what_they_drive(target: str, asks: bool) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ("packages.sh tests" in done.stdout) == asks


def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.python("3.9.2", new=False)
    done = machine.run("venv.sh", str(tmp_path / "venv"))
    assert done.returncode == 1
    assert "needs Python 3.11 or later; python3 is Python 3.9.2" in done.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("target", ["run", "test", "test-fast", "check", "lint", "venv", "clean", "help"])
def test_every_target_of_the_makefile_is_there(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
