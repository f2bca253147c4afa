"""nginx with a file: the most that one process answers on this machine."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from devstack.processes import end, free_port, launch, wait_ready

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


class Nginx:
    """A started server of one worker that answers PATH with `body`. A context manager."""

    def __init__(self, directory: Path, body: bytes) -> None:
        (directory / "files").mkdir(parents=True)
        (directory / "files" / PATH[1:]).write_bytes(body)
        directory.chmod(0o755)  # its worker is another user than root
        self.port = free_port()
        configuration, log = directory / "nginx.conf", directory / "log"
        configuration.write_text(_CONFIGURATION.format(directory=directory, port=self.port))
        command = ["nginx", "-c", str(configuration), "-p", str(directory), "-e", str(directory / "error.log")]
        self._process = launch(command, log, cwd=directory, env={"PATH": os.environ["PATH"]})
        try:
            wait_ready("nginx", self._answers, self._process, log, timeout=20)
        except BaseException:
            end(self._process, timeout=10)
            raise

    def request(self) -> str:
        return f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end(self._process, timeout=10)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
