"""An nginx on loopback in front of a server, by config/nginx/config-server.conf, which keeps to its own directory."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from devstack.processes import end, free_port, launch, wait_ready
from devstack.server import ROOT, Server
from tests.proxy.certificate import write_certificate

CONFIGURATION = ROOT / "config" / "nginx" / "config-server.conf"
#: What an operator may have around it: gzip for whatever it can be had for. Buffering is as nginx has it by default.
MAIN = """\
daemon off;
pid pid-of-nginx;
worker_processes 1;
{user}
events {{ worker_connections 256; }}
http {{
    {temporary}
    gzip on;
    gzip_proxied any;
    gzip_min_length 1;
    gzip_types application/json application/problem+json text/event-stream;
    include config-server.conf;
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(slots=True)
class TlsDoor:
    """The same nginx, by TLS."""

    port: int

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def worker_of(self, port: int) -> int | None:
        return None


class Nginx:
    """Plain HTTP at `url`, TLS at `tls` with a certificate of its own. Clients of tests.cluster take it as a door."""

    def __init__(self, directory: Path, server: Server) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self.tls = free_port(), TlsDoor(free_port())
        self.certificate, self.access_log, self.error_log = (
            directory / name for name in ("certificate.pem", "access.log", "error.log")
        )
        write_certificate(self.certificate, directory / "key.pem")
        user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""  # its workers must get into our directory
        temporary = " ".join(f"{each}_temp_path {each};" for each in _TEMPORARY)
        (directory / "nginx.conf").write_text(MAIN.format(user=user, temporary=temporary))
        (directory / "config-server.conf").write_text(replaced(CONFIGURATION.read_text(), self._own(server)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def worker_of(self, port: int) -> int | None:
        """Which worker of the server it is, a client cannot tell from here."""
        return None

    def start(self) -> Self:
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program, "there is no nginx here: sh devstack/packages.sh tests"
        command = [program, "-p", str(self._directory), "-e", str(self.error_log), "-c", "nginx.conf"]
        log = self._directory / "log"
        self._process = launch(command, log, cwd=self._directory, env=os.environ)
        wait_ready("nginx", self._listens, self._process, self.error_log, timeout=60)
        return self

    def close(self) -> None:
        if self._process is not None:
            end(self._process, timeout=10)
            self._process = None

    def _own(self, server: Server) -> Mapping[str, str]:
        """What an operator puts in the place of, and what we do."""
        return {
            "server 127.0.0.1:8000;": f"server 127.0.0.1:{server.port};",
            "listen 443 ssl;": f"listen 127.0.0.1:{self.port}; listen 127.0.0.1:{self.tls.port} ssl;",
            "server_name config.example.org;": "server_name localhost;",
            "/etc/ssl/certs/config.example.org.pem": str(self.certificate),
            "/etc/ssl/private/config.example.org.key": str(self._directory / "key.pem"),
            "/var/log/nginx/config-server.log": str(self.access_log),
        }

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def replaced(text: str, names: Mapping[str, str]) -> str:
    """Each of the names is there once, and nothing else is touched."""
    for name, own in names.items():
        assert text.count(name) == 1, f"{name} stands {text.count(name)} times in {CONFIGURATION}"
        text = text.replace(name, own)
    return text
