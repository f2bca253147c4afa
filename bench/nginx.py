"""nginx with a file: the most that one process answers on this machine."""

from __future__ import annotations

import socket
from pathlib import Path

from bench.program import Program
from devstack.processes import free_port

PATH = "/answer.json"
_CONFIGURATION = """\
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  keepalive_requests 1000000000;
  open_file_cache max=10;
  default_type application/json;
  server {{ listen 127.0.0.1:{port}; root {directory}/files; }}
}}
"""


class Nginx(Program):
    """A started server of one worker that answers PATH with `body`. A context manager."""

    def __init__(self, directory: Path, body: bytes) -> None:
        (directory / "files").mkdir(parents=True)
        (directory / "files" / PATH[1:]).write_bytes(body)
        directory.chmod(0o755)  # its worker is another user than root
        self.port = free_port()
        configuration = directory / "nginx.conf"
        configuration.write_text(_CONFIGURATION.format(directory=directory, port=self.port))
        command = ["nginx", "-c", str(configuration), "-p", str(directory), "-e", str(directory / "error.log")]
        super().__init__("nginx", command, directory, timeout=20)

    def request(self) -> str:
        return f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
