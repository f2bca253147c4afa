"""A real sshd on loopback that lets one key at one repository, for the tests of Git over SSH."""

from __future__ import annotations

import contextlib
import getpass
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devstack.processes import end, free_port, launch
from tests.support import eventually

SSHD = "/usr/sbin/sshd"
#: Where sshd wants an empty folder to hide in; Debian's package leaves its making to the service.
_PRIVILEGE_SEPARATION = Path("/run/sshd")


def new_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@dataclass(frozen=True)
class GitSsh:
    """`known_hosts` names the server's key, `key` is a client's that it lets in; `log` is what it says."""

    port: int
    bare: Path
    key: Path
    known_hosts: Path
    log: Path

    @property
    def url(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{self.bare}"


@contextlib.contextmanager
def git_ssh(bare: Path, directory: Path) -> Iterator[GitSsh]:
    """Serves `bare`; keys and configuration are made in `directory`."""
    port, host_key, key = free_port(), new_key(directory / "host_key"), new_key(directory / "client key")
    authorized = directory / "authorized_keys"
    authorized.write_text(f'restrict,command="git-shell -c \\"$SSH_ORIGINAL_COMMAND\\"" {_public(key)}')
    known_hosts = directory / "known hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {_public(host_key)}")
    log = directory / "sshd.log"
    if os.geteuid() == 0:
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    options = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": host_key,
        "AuthorizedKeysFile": authorized,
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    sshd = launch([SSHD, "-D", "-e", "-f", "/dev/null", *words], log, cwd=directory, env=dict(os.environ))
    try:
        eventually(lambda: "Server listening" in log.read_text())
        yield GitSsh(port, bare, key, known_hosts, log)
    finally:
        end(sshd, timeout=5)


def _public(key: Path) -> str:
    return key.with_name(f"{key.name}.pub").read_text()
